"""The key ring: identity's signing keys, their rotation and their publication."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from portico.kit import ServiceContext, UnitOfWork, get_logger
from portico.kit.auth import LEEWAY, PublicAlgorithm, SigningKey, VerifyingKey
from portico.kit.settings import SettingsError
from portico.services.identity.errors import KeyDecryptionFailed, SharedSecretInUse
from portico.services.identity.models import SIGNING_KEYS
from portico.services.identity.repository import audit, lock_singleton
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.domain import KeyCipher, ScheduledKey, keys_in_force, signing_key_at
from portico.services.identity.tokens.models import StoredKey
from portico.services.identity.tokens.repository import StoredKeys, delete_all_keys

logger = get_logger(__name__)

_MIN_INTERVAL: Final = timedelta(microseconds=1)  # no two keys take over at the same moment


class KeyRing:
    """Identity's signing keys, cached for a few seconds because another process may add one."""

    CACHE_SECONDS: Final = 5.0

    def __init__(self, context: ServiceContext, cipher: KeyCipher, shared: SigningKey | None) -> None:
        settings = context.settings_of(IdentitySettings)
        self._context = context
        self._cipher = cipher
        self._shared = shared
        self._keys: list[ScheduledKey] = []
        self._decrypted: dict[str, SigningKey] = {}
        self._loaded_at = float("-inf")
        self._loading = asyncio.Lock()
        self._token_lifetime = timedelta(minutes=settings.access_token_expire_minutes, seconds=2 * LEEWAY)
        self._algorithm = settings.jwt_algorithm
        self._lead_time = timedelta(minutes=settings.key_lead_minutes)
        self._max_age = timedelta(days=settings.key_rotation_days)

    async def signing_key(self) -> SigningKey:
        """Return the key that signs now."""
        if self._shared is not None:
            return self._shared
        return signing_key_at(await self._current(), self._context.clock.now())

    async def find_verifying_key(self, kid: str) -> VerifyingKey | None:
        """Return the key in force with this kid."""
        if self._shared is not None and kid == self._shared.kid:
            return self._shared.verifying
        return next((key.verifying for key in await self._in_force() if key.kid == kid), None)

    async def public_keys(self) -> list[dict[str, Any]]:
        """Return the public keys in force and those that will sign (RFC 7517). A shared secret is never included."""
        return [key.public_jwk() for key in await self._in_force()]

    async def check(self) -> None:
        """Load the key that signs. Raises KeyDecryptionFailed."""
        await self.signing_key()

    async def rotate(self, *, at_once: bool = False, withdraw: bool = False) -> StoredKey:
        """Publish a new signing key. It signs after the lead time that verifiers need to fetch it.

        Args:
            at_once: sign with it now; verifiers fetch it when they see its unknown kid.
            withdraw: delete the older keys because one was compromised; all access tokens become invalid.

        Raises:
            SharedSecretInUse: tokens are signed with a shared secret.
        """
        algorithm = self._algorithm
        if algorithm == "HS256":
            raise SharedSecretInUse
        key = await asyncio.to_thread(SigningKey.generate, algorithm)
        async with self._context.transaction() as work:
            await lock_singleton(work, SIGNING_KEYS)
            if withdraw:
                await delete_all_keys(work)
            elif at_once:
                await _activate_all(work)
            lead_time = timedelta() if at_once or withdraw else self._lead_time
            stored = await self._publish(work, key, lead_time, withdrawn=withdraw)
        self._expire_cache()
        return stored

    async def rotate_if_due(self) -> None:
        """Replace the signing key when it is old enough, and delete keys whose last token has expired."""
        oldest = self._context.clock.now() - self._max_age
        algorithm = self._algorithm
        if algorithm != "HS256":
            await self._replace_if(algorithm, lambda newest: newest is not None and newest.signs_from <= oldest)
        async with self._context.transaction() as work:
            await lock_singleton(work, SIGNING_KEYS)
            for key, successor in pairwise(await StoredKeys(work).all()):
                if successor.signs_from + self._token_lifetime <= work.now:
                    await work.delete(key)
        self._expire_cache()

    async def ensure_key(self, algorithm: PublicAlgorithm) -> None:
        """Publish a key if there is none, or none of this algorithm."""
        await self._replace_if(algorithm, lambda newest: newest is None or newest.algorithm != algorithm)

    async def _replace_if(self, algorithm: PublicAlgorithm, is_due: Callable[[StoredKey | None], bool]) -> None:
        """Publish a new key if the newest one `is_due`. The check is repeated under the lock: one process publishes."""
        async with self._context.reader() as reader:
            if not is_due(await StoredKeys(reader).find_newest()):
                return
        key = await asyncio.to_thread(SigningKey.generate, algorithm)
        async with self._context.transaction() as work:
            await lock_singleton(work, SIGNING_KEYS)
            if is_due(await StoredKeys(work).find_newest()):
                await self._publish(work, key, self._lead_time)

    async def _publish(
        self, work: UnitOfWork, key: SigningKey, lead_time: timedelta, *, withdrawn: bool = False
    ) -> StoredKey:
        """Add `key`, while the singleton row is locked. The first key signs at once, since there is no other."""
        newest = await StoredKeys(work).find_newest()
        signs_from = work.now if newest is None else max(work.now + lead_time, newest.signs_from + _MIN_INTERVAL)
        stored = StoredKey.create(key, self._cipher, signs_from=signs_from, now=work.now)
        work.add(stored)
        audit(
            work,
            "keys.rotated",
            kid=key.kid,
            algorithm=key.algorithm,
            signs_from=signs_from.isoformat(),
            withdrawn=withdrawn,
        )
        return stored

    async def _in_force(self) -> list[SigningKey]:
        keys = keys_in_force(await self._current(), self._context.clock.now(), lifetime=self._token_lifetime)
        return [each.key for each in keys]

    async def _current(self) -> list[ScheduledKey]:
        if self._context.clock.monotonic() - self._loaded_at < self.CACHE_SECONDS:
            return self._keys
        async with self._loading:
            if self._context.clock.monotonic() - self._loaded_at >= self.CACHE_SECONDS:
                await self._load()
        return self._keys

    async def _load(self) -> None:
        async with self._context.reader() as reader:
            rows = await StoredKeys(reader).all()
        self._decrypted = {
            row.kid: self._decrypted.get(row.kid) or self._cipher.decrypt(row.kid, row.encrypted) for row in rows
        }
        self._keys = [ScheduledKey(self._decrypted[row.kid], row.signs_from) for row in rows]
        self._loaded_at = self._context.clock.monotonic()

    def _expire_cache(self) -> None:
        self._loaded_at = float("-inf")


@asynccontextmanager
async def open_key_ring(context: ServiceContext) -> AsyncIterator[KeyRing]:
    """Provide the service's key ring, with a first key if there is none. Raises SettingsError."""
    settings = context.settings_of(IdentitySettings)
    algorithm = settings.jwt_algorithm
    cipher = KeyCipher(context.secrets.secret_key.get_secret_value())
    if algorithm == "HS256":
        if settings.jwt_secret is None:
            raise SettingsError(
                "JWT_SECRET is not set, but JWT_ALGORITHM=HS256 signs with it. Set it to at least 32 bytes."
            )
        ring = KeyRing(context, cipher, SigningKey.of_secret(settings.jwt_secret.get_secret_value()))
    else:
        ring = KeyRing(context, cipher, None)
        await ring.ensure_key(algorithm)
    try:
        await ring.check()
    except KeyDecryptionFailed as error:  # not ready, but running: the command that replaces the keys needs the service
        logger.error("signing_key_unreadable", service=context.name, error=str(error))  # noqa: TRY400  # the text suffices
    context.health.add("signing keys", ring.check, critical=True)
    yield ring


async def _activate_all(work: UnitOfWork) -> None:
    """Let published keys that do not sign yet take over now, one after the other, so that a newer one can sign now."""
    moment = work.now
    for key in await StoredKeys(work).all():
        key.signs_from = min(key.signs_from, moment)
        moment = max(moment, key.signs_from + _MIN_INTERVAL)
    await work.flush()
