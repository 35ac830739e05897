import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bcrypt
import pytest

from portico.services.identity.errors import HashingBusy, PasswordTooLong
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.users.passwords import PasswordCheck, PasswordHasher


def settings(**changes: Any) -> IdentitySettings:
    values = {"password_passes": 1, "password_memory_kib": 64, "password_queue": 2} | changes
    return IdentitySettings.model_validate(values)


@pytest.fixture
async def hasher() -> AsyncIterator[PasswordHasher]:
    made = PasswordHasher(settings())
    yield made
    made.close()


class TestVerifyPassword:
    async def test_accepts_the_right_password_only(self, hasher: PasswordHasher) -> None:
        known = await hasher.hash("correct horse")

        assert known.startswith("$argon2id$")
        assert await hasher.verify("correct horse", known) == PasswordCheck(matches=True)
        assert await hasher.verify("battery staple", known) == PasswordCheck(matches=False)

    async def test_accepts_any_unicode_form_of_the_password(self, hasher: PasswordHasher) -> None:
        known = await hasher.hash("caf\u00e9 au lait")

        assert (await hasher.verify("cafe\u0301 au lait", known)).matches

    async def test_rejects_any_password_of_an_unknown_account(self, hasher: PasswordHasher) -> None:
        assert await hasher.verify("anything", None) == PasswordCheck(matches=False)

    async def test_rejects_a_malformed_hash(self, hasher: PasswordHasher) -> None:
        assert await hasher.verify("anything", "plain") == PasswordCheck(matches=False)


class TestOutdatedHash:
    async def test_bcrypt_hash_is_replaced(self, hasher: PasswordHasher) -> None:
        known = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()

        check = await hasher.verify("correct horse", known)

        assert check.matches
        assert check.new_hash is not None
        assert (await hasher.verify("correct horse", check.new_hash)).matches

    async def test_bcrypt_hash_verifies_a_long_password(self, hasher: PasswordHasher) -> None:
        long = "x" * 100
        known = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()

        assert (await hasher.verify(long, known)).matches
        assert not (await hasher.verify("y" * 100, known)).matches

    async def test_hash_with_weaker_parameters_is_replaced(self, hasher: PasswordHasher) -> None:
        known = await hasher.hash("correct horse")
        stronger = PasswordHasher(settings(password_passes=2))

        assert (await stronger.verify("correct horse", known)).new_hash is not None
        stronger.close()


class TestBcrypt:
    @pytest.fixture
    async def bcrypt_hasher(self) -> AsyncIterator[PasswordHasher]:
        hasher = PasswordHasher(settings(password_hash="bcrypt"))
        yield hasher
        hasher.close()

    async def test_hashes_and_verifies(self, bcrypt_hasher: PasswordHasher) -> None:
        known = await bcrypt_hasher.hash("correct horse")

        assert known.startswith("$2b$12$")
        assert await bcrypt_hasher.verify("correct horse", known) == PasswordCheck(matches=True)
        assert await bcrypt_hasher.verify("battery staple", known) == PasswordCheck(matches=False)
        assert await bcrypt_hasher.verify("anything", None) == PasswordCheck(matches=False)

    async def test_rejects_a_password_that_it_would_cut(self, bcrypt_hasher: PasswordHasher) -> None:
        assert await bcrypt_hasher.hash("x" * 72)
        with pytest.raises(PasswordTooLong):
            await bcrypt_hasher.hash("é" * 37)

    async def test_replaces_a_hash_by_argon2id(self, hasher: PasswordHasher, bcrypt_hasher: PasswordHasher) -> None:
        known, long = await hasher.hash("correct horse"), await hasher.hash("x" * 73)

        check = await bcrypt_hasher.verify("correct horse", known)

        assert check.matches
        assert check.new_hash is not None
        assert check.new_hash.startswith("$2b$")
        assert await bcrypt_hasher.verify("x" * 73, long) == PasswordCheck(matches=True)


class BlockedHasher(PasswordHasher):
    """A hasher whose threads wait for the test."""

    def __init__(self, settings: IdentitySettings) -> None:
        super().__init__(settings)
        self.released = threading.Event()

    def _check(self, password: str, known: str) -> PasswordCheck:
        self.released.wait(10)
        return super()._check(password, known)


@contextmanager
def held(**changes: int) -> Iterator[BlockedHasher]:
    hasher = BlockedHasher(settings(**changes))
    try:
        yield hasher
    finally:
        hasher.released.set()
        hasher.close()


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  what it waits for has no event
        await asyncio.sleep(0)


class TestManyPasswords:
    async def test_full_queue_rejects_with_retry_after(self) -> None:
        with held(password_threads=1, password_queue=2) as hasher:
            waiting = [asyncio.create_task(hasher.verify("x", None)) for _ in range(3)]
            await until(lambda: hasher._pending == 3)

            with pytest.raises(HashingBusy) as busy:
                await hasher.verify("x", None)

            assert busy.value.headers["retry-after"] == "1"
            hasher.released.set()
            assert await asyncio.gather(*waiting) == [PasswordCheck(matches=False)] * 3
            await asyncio.wait_for(until(lambda: hasher._pending == 0), 60)

    async def test_cancelled_callers_occupy_the_queue_until_their_hash_ends(self) -> None:
        with held(password_threads=1, password_queue=0) as hasher:
            gone = asyncio.create_task(hasher.verify("x", None))
            await until(lambda: hasher._pending == 1)
            gone.cancel()
            await asyncio.wait([gone])

            with pytest.raises(HashingBusy):
                await hasher.verify("x", None)

            hasher.released.set()
            await asyncio.wait_for(until(lambda: hasher._pending == 0), 60)
