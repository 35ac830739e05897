import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import select

from portico.kit import ServiceContext, get_logger
from portico.kit.auth import LEEWAY, SigningKey, VerifyingKey
from portico.kit.settings import SettingsError
from portico.services.identity.keys.commands import replace_key
from portico.services.identity.keys.domain import RingKey, Sealer, in_force, signing_key
from portico.services.identity.keys.errors import SealBroken
from portico.services.identity.keys.models import StoredKey
from portico.services.identity.settings import IdentitySettings

logger = get_logger(__name__)


class KeyRing:
    """Identity's keys, read again from the database every few seconds, since another process may have added one."""

    FRESH_FOR: Final = 5.0
    """Seconds until the keys are read again."""

    def __init__(self, context: ServiceContext, sealer: Sealer, shared: SigningKey | None) -> None:
        self._context = context
        self.sealer = sealer
        self._shared = shared
        self._keys: list[RingKey] = []
        self._opened: dict[str, SigningKey] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self.lasting = timedelta(
            minutes=context.settings_of(IdentitySettings).access_token_expire_minutes, seconds=2 * LEEWAY
        )

    async def signing(self) -> SigningKey:
        """The key to sign with now."""
        if self._shared is not None:
            return self._shared
        return signing_key(await self._current(), self._context.clock.now())

    async def verifying(self, kid: str) -> VerifyingKey | None:
        """The key that may have signed as `kid`; None where none in force did."""
        if self._shared is not None and kid == self._shared.kid:
            return self._shared.verifying
        keys = in_force(await self._current(), self._context.clock.now(), lasting=self.lasting)
        return next((each.key.verifying for each in keys if each.key.kid == kid), None)

    async def published(self) -> list[dict[str, Any]]:
        """The public keys in force and to come (RFC 7517); a shared secret is never among them."""
        keys = in_force(await self._current(), self._context.clock.now(), lasting=self.lasting)
        return [each.key.public_jwk() for each in keys]

    async def check(self) -> None:
        """Find the key to sign with. Raises SealBroken."""
        await self.signing()

    def forget(self) -> None:
        """Read the keys again at the next use."""
        self._read_at = float("-inf")

    async def _current(self) -> list[RingKey]:
        if self._context.clock.monotonic() - self._read_at < self.FRESH_FOR:
            return self._keys
        async with self._reading:
            if self._context.clock.monotonic() - self._read_at >= self.FRESH_FOR:
                await self._read()
        return self._keys

    async def _read(self) -> None:
        async with self._context.reader() as reader:
            rows = await reader.all(select(StoredKey).order_by(StoredKey.signs_from, StoredKey.kid))
        self._opened = {row.kid: self._opened.get(row.kid) or self.sealer.open(row.kid, row.sealed) for row in rows}
        self._keys = [RingKey(self._opened[row.kid], row.signs_from) for row in rows]
        self._read_at = self._context.clock.monotonic()


@asynccontextmanager
async def open_ring(context: ServiceContext) -> AsyncIterator[KeyRing]:
    """The service's key ring, its first key made where there is none. Raises SettingsError."""
    settings = context.settings_of(IdentitySettings)
    sealer = Sealer(context.secrets.secret_key.get_secret_value())
    shared = None
    if settings.jwt_algorithm == "HS256":
        if settings.jwt_secret is None:
            raise SettingsError(
                "JWT_SECRET is not set, but JWT_ALGORITHM=HS256 signs with it. Set it to at least 32 bytes."
            )
        shared = SigningKey.of_secret(settings.jwt_secret.get_secret_value())
    else:
        algorithm = settings.jwt_algorithm
        await replace_key(
            context, sealer, algorithm, due=lambda newest: newest is None or newest.algorithm != algorithm
        )
    ring = KeyRing(context, sealer, shared)
    try:
        await ring.check()
    except SealBroken as error:  # it is not ready, but starts: to replace the keys takes a service that runs
        logger.error("signing_key_unreadable", service=context.name, error=str(error))  # noqa: TRY400  # it says all
    context.health.add("signing keys", ring.check, critical=True)
    yield ring
