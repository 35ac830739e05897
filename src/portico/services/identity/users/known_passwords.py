"""Passwords that attackers try first: a list of common ones, and a service that knows those from breaches."""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.kit import get_logger
from portico.services.identity.settings import IdentitySettings

if TYPE_CHECKING:
    import aiohttp  # slow to import; commands need the declaration of the service, but no look-up

logger = get_logger(__name__)

_PREFIX_LENGTH: Final = 5
_MAX_ANSWER: Final = 1_000_000  # bytes; a range has about 40,000
_CONNECTIONS: Final = 8


def is_common(password: str) -> bool:
    """Whether `password` is in the list of common ones, in upper or lower case."""
    return password.casefold() in _common_passwords()


class BreachedPasswords:
    """Client of a k-anonymity range API: `GET {url}/{first five hex digits of the SHA-1}`.

    The service learns these digits only, which thousands of passwords share.
    The answer has a line `SUFFIX:COUNT` for each breached password whose hash has that prefix. Lines with the count 0
    are padding.
    """

    def __init__(self, session: "aiohttp.ClientSession", url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def contains(self, password: str) -> bool:
        """Return whether `password` is known from a breach; False if the service does not answer in time."""
        import aiohttp

        digest = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()
        prefix, suffix = digest[:_PREFIX_LENGTH], digest[_PREFIX_LENGTH:]
        try:
            async with self._session.get(f"{self._url}/{prefix}", headers={"add-padding": "true"}) as response:
                response.raise_for_status()
                return await _has_suffix(response.content, suffix)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            logger.warning("breached_passwords_lookup_failed", cause=type(error).__name__)
            return False


async def _has_suffix(lines: AsyncIterable[bytes], suffix: str) -> bool:
    """Whether a range has a password with this suffix. Raises ValueError if the range is too long."""
    size = 0
    async for line in lines:
        size += len(line)
        if size > _MAX_ANSWER:
            raise ValueError("the answer is too long")
        found, _, count = line.decode("ascii", "replace").strip().upper().partition(":")
        if found == suffix:
            return count != "0"
    return False


@asynccontextmanager
async def open_breached_passwords(settings: IdentitySettings) -> AsyncIterator[BreachedPasswords | None]:
    """Provide the look-up, or None if `breached_passwords_url` is not set."""
    if settings.breached_passwords_url is None:
        yield None
        return
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=settings.breached_passwords_timeout)
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield BreachedPasswords(session, settings.breached_passwords_url)


@cache
def _common_passwords() -> frozenset[str]:
    lines = Path(__file__).with_name("common_passwords.txt").read_text("utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("# "))
