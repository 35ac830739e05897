import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import bcrypt
import pytest

from portico.services.identity.errors import HashingBusy
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.users.passwords import PasswordCheck, PasswordHasher


def settings(**changes: int) -> IdentitySettings:
    values = {"password_passes": 1, "password_memory_kib": 64, "password_queue": 2} | changes
    return IdentitySettings.model_validate(values)


@pytest.fixture
async def hasher() -> AsyncIterator[PasswordHasher]:
    made = PasswordHasher(settings())
    yield made
    made.close()


class TestAPassword:
    async def test_is_right_or_wrong(self, hasher: PasswordHasher) -> None:
        known = await hasher.hash("correct horse")

        assert known.startswith("$argon2id$")
        assert await hasher.verify("correct horse", known) == PasswordCheck(matches=True)
        assert await hasher.verify("battery staple", known) == PasswordCheck(matches=False)

    async def test_is_the_same_from_every_keyboard(self, hasher: PasswordHasher) -> None:
        known = await hasher.hash("caf\u00e9 au lait")

        assert (await hasher.verify("cafe\u0301 au lait", known)).matches

    async def test_of_an_account_that_is_not_there_is_wrong(self, hasher: PasswordHasher) -> None:
        assert await hasher.verify("anything", None) == PasswordCheck(matches=False)

    async def test_against_a_hash_that_is_none_is_wrong(self, hasher: PasswordHasher) -> None:
        assert await hasher.verify("anything", "plain") == PasswordCheck(matches=False)


class TestAnOutdatedHash:
    async def test_by_bcrypt_is_replaced(self, hasher: PasswordHasher) -> None:
        known = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()

        check = await hasher.verify("correct horse", known)

        assert check.matches
        assert check.new_hash is not None
        assert (await hasher.verify("correct horse", check.new_hash)).matches

    async def test_by_bcrypt_of_a_long_password_holds(self, hasher: PasswordHasher) -> None:
        long = "x" * 100
        known = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()

        assert (await hasher.verify(long, known)).matches
        assert not (await hasher.verify("y" * 100, known)).matches

    async def test_of_weaker_parameters_is_replaced(self, hasher: PasswordHasher) -> None:
        known = await hasher.hash("correct horse")
        stronger = PasswordHasher(settings(password_passes=2))

        assert (await stronger.verify("correct horse", known)).new_hash is not None
        stronger.close()


class HeldHasher(PasswordHasher):
    """A hasher whose threads wait until the test lets them go on."""

    def __init__(self, settings: IdentitySettings) -> None:
        super().__init__(settings)
        self.go_on = threading.Event()

    def _check(self, password: str, known: str) -> PasswordCheck:
        self.go_on.wait(10)
        return super()._check(password, known)


@contextmanager
def held(**changes: int) -> Iterator[HeldHasher]:
    hasher = HeldHasher(settings(**changes))
    try:
        yield hasher
    finally:
        hasher.go_on.set()
        hasher.close()


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  what it waits for has no event
        await asyncio.sleep(0)


class TestAStormOfSignIns:
    async def test_is_told_to_come_again_beyond_the_queue(self) -> None:
        with held(password_threads=1, password_queue=2) as hasher:
            waiting = [asyncio.create_task(hasher.verify("x", None)) for _ in range(3)]
            await until(lambda: hasher._pending == 3)

            with pytest.raises(HashingBusy) as busy:
                await hasher.verify("x", None)

            assert busy.value.headers["retry-after"] == "1"
            hasher.go_on.set()
            assert await asyncio.gather(*waiting) == [PasswordCheck(matches=False)] * 3
            await asyncio.wait_for(until(lambda: hasher._pending == 0), 5)

    async def test_counts_the_work_of_callers_that_went_away(self) -> None:
        with held(password_threads=1, password_queue=0) as hasher:
            gone = asyncio.create_task(hasher.verify("x", None))
            await until(lambda: hasher._pending == 1)
            gone.cancel()
            await asyncio.wait([gone])

            with pytest.raises(HashingBusy):
                await hasher.verify("x", None)

            hasher.go_on.set()
            await asyncio.wait_for(until(lambda: hasher._pending == 0), 5)
