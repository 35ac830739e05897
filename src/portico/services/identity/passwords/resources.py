import asyncio
import os
import secrets
import sys
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

import bcrypt
from argon2 import PasswordHasher as Argon2
from argon2.exceptions import InvalidHashError, VerificationError

from portico.kit import ServiceContext
from portico.services.identity.passwords.domain import Verdict, normalized
from portico.services.identity.passwords.errors import HashingBusy
from portico.services.identity.settings import IdentitySettings

T = TypeVar("T")
_BCRYPT_LIMIT: Final = 72  # bytes; what is beyond was never part of the hash
_BCRYPT_MARKS: Final = ("$2a$", "$2b$", "$2y$")
_NICENESS: Final = 10
_SECONDS_EACH: Final = 0.25


class PasswordHasher:
    """Hashes and verifies, `threads` at a time; at most `queue` wait, further callers get HashingBusy."""

    def __init__(self, settings: IdentitySettings) -> None:
        self._argon2 = Argon2(
            time_cost=settings.password_passes, memory_cost=settings.password_memory_kib, parallelism=1
        )
        self._threads = ThreadPoolExecutor(settings.password_threads, "passwords", initializer=_yield_to_others)
        self._each = settings.password_threads
        self._room = settings.password_threads + settings.password_queue
        self._busy = 0
        self._decoy = _decoy(settings.password_passes, settings.password_memory_kib)

    async def hash(self, password: str) -> str:
        """The hash to keep. Raises HashingBusy."""
        text = normalized(password)
        return await self._run(lambda: self._argon2.hash(text))

    async def verify(self, password: str, known: str | None) -> Verdict:
        """Hold `password` against the `known` hash; with None the same work is done for nothing.

        So that an account that does not exist takes as long to refuse as a wrong password. Raises HashingBusy.
        """
        text = normalized(password)
        return await self._run(lambda: self._verdict(text, known or self._decoy))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verdict(self, password: str, known: str) -> Verdict:
        if known.startswith(_BCRYPT_MARKS):
            right = bcrypt.checkpw(password.encode()[:_BCRYPT_LIMIT], known.encode())
            return Verdict(right, self._argon2.hash(password) if right else None)
        try:
            self._argon2.verify(known, password)
        except (VerificationError, InvalidHashError):
            return Verdict(right=False)
        outdated = self._argon2.check_needs_rehash(known)
        return Verdict(right=True, new_hash=self._argon2.hash(password) if outdated else None)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._busy >= self._room:
            raise HashingBusy(retry_after=max(1.0, self._room * _SECONDS_EACH / self._each))
        self._busy += 1
        future = self._threads.submit(work)
        # Counted until the thread is done with it: a caller that goes away leaves its work behind.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _tell(loop, self._done))
        return await asyncio.wrap_future(future)

    def _done(self) -> None:
        self._busy -= 1


@asynccontextmanager
async def open_hasher(context: ServiceContext) -> AsyncIterator[PasswordHasher]:
    """The service's hasher, as long as the service runs."""
    hasher = PasswordHasher(context.settings_of(IdentitySettings))
    try:
        yield hasher
    finally:
        hasher.close()


def _tell(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop was closed while a thread was still hashing
        loop.call_soon_threadsafe(act)


def _yield_to_others() -> None:
    """Let the threads that answer requests go first; only Linux can say so of one thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _decoy(passes: int, memory_kib: int) -> str:
    """A hash of no password, that takes as long to refuse as a real one."""
    salt, digest = (b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
    return f"$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${digest}"
