"""Password hashing with argon2id (RFC 9106) or bcrypt, on threads of its own so that sign-ins do not slow other calls."""

import asyncio
import os
import secrets
import sys
import threading
import unicodedata
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from portico.kit import ServiceContext
from portico.services.identity.errors import HashingBusy, PasswordBreached, PasswordGuessable, PasswordTooLong
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.users.known_passwords import BreachedPasswords, is_common, open_breached_passwords

T = TypeVar("T")
_BCRYPT_LIMIT: Final = 72  # bytes
_NICENESS: Final = 10
_SECONDS_PER_HASH: Final = 0.25


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """Result of a password check. `new_hash` replaces a matching hash with outdated parameters."""

    matches: bool
    new_hash: str | None = None


class PasswordHasher:
    """Hash and verify passwords on `password_threads` threads. At most `password_queue` callers wait."""

    def __init__(self, settings: IdentitySettings, breached: BreachedPasswords | None = None) -> None:
        self._breached = breached
        argon2 = Argon2Hasher(
            time_cost=settings.password_passes, memory_cost=settings.password_memory_kib, parallelism=1
        )
        bcrypt = _Bcrypt()
        self._uses_bcrypt = settings.password_hash == "bcrypt"  # noqa: S105  it names the algorithm
        self._hashes = PasswordHash((bcrypt, argon2) if self._uses_bcrypt else (argon2, bcrypt))  # the first one hashes
        self._threads = ThreadPoolExecutor(settings.password_threads, "passwords", initializer=_lower_priority)
        self._thread_count = settings.password_threads
        self._capacity = settings.password_threads + settings.password_queue
        self._pending = 0
        self._decoy = (
            bcrypt.hash(secrets.token_hex(16))
            if self._uses_bcrypt
            else _decoy_argon2_hash(settings.password_passes, settings.password_memory_kib)
        )

    async def hash(self, password: str) -> str:
        """Return the hash of a new password.

        Raises:
            PasswordTooLong: it has more than 72 bytes, and the algorithm is bcrypt.
            PasswordGuessable: it is in the list of common passwords.
            PasswordBreached: it is known from a breach.
            HashingBusy: too many passwords wait to be hashed.
        """
        text = _normalize(password)
        if not self._can_hash(text):
            raise PasswordTooLong(limit=_BCRYPT_LIMIT)
        if is_common(text):
            raise PasswordGuessable
        if self._breached is not None and await self._breached.contains(text):
            raise PasswordBreached
        return await self._run(lambda: self._hashes.hash(text))

    async def verify(self, password: str, known_hash: str | None) -> PasswordCheck:
        """Check `password` against `known_hash`. With None the result is negative and takes the same time.

        An unknown account therefore takes as long to reject as a wrong password. Raises HashingBusy.
        """
        text = _normalize(password)
        return await self._run(lambda: self._check(text, known_hash or self._decoy))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check(self, password: str, known_hash: str) -> PasswordCheck:
        try:
            if self._can_hash(password):
                return PasswordCheck(*self._hashes.verify_and_update(password, known_hash))
            return PasswordCheck(self._hashes.verify(password, known_hash))
        except UnknownHashError:
            return PasswordCheck(matches=False)

    def _can_hash(self, password: str) -> bool:
        return not self._uses_bcrypt or len(password.encode()) <= _BCRYPT_LIMIT

    async def _run(self, work: Callable[[], T]) -> T:
        if self._pending >= self._capacity:
            raise HashingBusy(retry_after=max(1.0, self._capacity * _SECONDS_PER_HASH / self._thread_count))
        self._pending += 1
        future = self._threads.submit(work)
        # Counted until the thread has finished: cancelling the caller does not stop the hash.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _call_in_loop(loop, self._finished))
        return await asyncio.wrap_future(future)

    def _finished(self) -> None:
        self._pending -= 1


@asynccontextmanager
async def open_password_hasher(context: ServiceContext) -> AsyncIterator[PasswordHasher]:
    """Provide the service's password hasher."""
    settings = context.settings_of(IdentitySettings)
    async with open_breached_passwords(settings) as breached:
        hasher = PasswordHasher(settings, breached)
        try:
            yield hasher
        finally:
            hasher.close()


class _Bcrypt(BcryptHasher):
    """Verifies hashes of older programs too, which ignored all but the first 72 bytes of a password."""

    def verify(self, password: str | bytes, hash: str | bytes) -> bool:  # noqa: A002  the name is the library's
        text = password.encode() if isinstance(password, str) else password
        return super().verify(text[:_BCRYPT_LIMIT], hash)


def _normalize(password: str) -> str:
    """Return the password in Unicode's composed form, so that an é from any keyboard gives the same hash (RFC 8265)."""
    return unicodedata.normalize("NFC", password)


def _call_in_loop(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop was closed while a thread was still hashing
        loop.call_soon_threadsafe(act)


def _lower_priority() -> None:
    """Give the threads that serve requests priority over this one. Only Linux has a priority per thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _decoy_argon2_hash(passes: int, memory_kib: int) -> str:
    """Return a hash that no password matches and that takes as long to check as a real one."""
    salt, digest = (b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
    return f"$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${digest}"
