import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from portico.servers.server import free_port
from portico.services.identity.errors import HashingBusy, PasswordBreached, PasswordGuessable, PasswordTooLong
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.users import known_passwords
from portico.services.identity.users.domain import MIN_PASSWORD_LENGTH
from portico.services.identity.users.known_passwords import is_common, open_breached_passwords
from portico.services.identity.users.passwords import PasswordCheck, PasswordHasher

BREACHED = "neither common nor unknown"
DIGEST = hashlib.sha1(BREACHED.encode(), usedforsecurity=False).hexdigest().upper()


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


@dataclass
class RangeServer:
    """A k-anonymity range API on loopback. It knows one password, and records the paths that it was asked for."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    state: str = "up"
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        if self.state == "failing":
            raise web.HTTPServiceUnavailable
        if self.state == "silent":
            await self.ended.wait()
        suffix = DIGEST[5:]
        others = "".join(f"{number:035X}:1\r\n" for number in range(4000))  # more than one read of a socket brings
        return web.Response(text=f"{others}{suffix}:42\r\n{'F' * 35}:0\r\n")


@pytest.fixture
async def ranges() -> AsyncIterator[RangeServer]:
    server = RangeServer()
    app = web.Application()
    app.router.add_get("/range/{prefix}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/range"
    yield server
    server.ended.set()
    await runner.cleanup()


@asynccontextmanager
async def looking_up(url: str, **changes: Any) -> AsyncIterator[PasswordHasher]:
    chosen = settings(breached_passwords_url=url, **changes)
    async with open_breached_passwords(chosen) as breached:
        hasher = PasswordHasher(chosen, breached)
        yield hasher
        hasher.close()


class TestNewPassword:
    @pytest.mark.parametrize("password", ["password", "Password1", "QWERTYUIOP", "1qaz2wsx"])
    async def test_common_one_is_rejected(self, hasher: PasswordHasher, password: str) -> None:
        with pytest.raises(PasswordGuessable):
            await hasher.hash(password)

    def test_list_has_ten_thousand_passwords_of_sufficient_length(self) -> None:
        listed = (Path(known_passwords.__file__).with_name("common_passwords.txt")).read_text().splitlines()
        passwords = [each for each in listed if not each.startswith("# ")]

        assert len(set(passwords)) == 10_000
        assert all(len(each) >= MIN_PASSWORD_LENGTH and is_common(each) for each in passwords)

    async def test_breached_one_is_rejected_by_the_first_digits_of_its_hash(self, ranges: RangeServer) -> None:
        async with looking_up(ranges.url) as hasher:
            with pytest.raises(PasswordBreached):
                await hasher.hash(BREACHED)
            await hasher.hash("a password that no breach has")

        assert ranges.paths[0] == f"/range/{DIGEST[:5]}"

    @pytest.mark.parametrize("state", ["failing", "silent"])
    async def test_one_is_accepted_while_the_look_up_fails(self, ranges: RangeServer, state: str) -> None:
        ranges.state = state
        with capture_logs() as logs:
            async with looking_up(ranges.url, breached_passwords_timeout=0.05) as hasher:
                await hasher.hash(BREACHED)

        assert [each["event"] for each in logs] == ["breached_passwords_lookup_failed"]

    async def test_one_is_accepted_if_the_look_up_service_is_down(self) -> None:
        with capture_logs() as logs:
            async with looking_up(f"http://127.0.0.1:{free_port()}/range") as hasher:
                await hasher.hash(BREACHED)

        assert [each["event"] for each in logs] == ["breached_passwords_lookup_failed"]
