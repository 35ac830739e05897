"""The keys that sign ticket codes. They rotate, rest encrypted, and verify for as long as there are tickets."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from portico.contracts.events import ShowId
from portico.kit import ServiceContext, get_logger
from portico.kit.auth import SealBroken, Sealer, SigningKey, VerifyingKey
from portico.services.bookings.tickets.domain import Serial, TicketCode, key_number_of
from portico.services.bookings.tickets.models import TicketKey
from portico.services.bookings.tickets.repository import TicketKeyRows, insert_key

logger = get_logger(__name__)

LEAD_TIME: Final = timedelta(days=1)
"""How long a new key is published before it signs, so that gates that are offline at the doors know it."""

MAX_AGE: Final = timedelta(days=90)
"""How long a key signs."""


@dataclass(frozen=True, slots=True)
class LoadedKey:
    """A key by its number. `signing` is None if SECRET_KEY is not the one that the private key was encrypted with."""

    number: int
    verifying: VerifyingKey
    signing: SigningKey | None
    signs_from: datetime


class TicketKeys:
    """The ticket keys, cached. Another process may add one; a code with an unknown key number reads them again."""

    CACHE_SECONDS: Final = 60.0
    MIN_RELOAD_SECONDS: Final = 1.0

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._sealer = Sealer(context.secrets.secret_key.get_secret_value(), "portico ticket keys")
        self._keys: dict[int, LoadedKey] = {}
        self._verifying: dict[int, VerifyingKey] = {}
        self._loaded_at = float("-inf")
        self._loading = asyncio.Lock()

    async def sign(self, codes: Sequence[tuple[ShowId, Serial]]) -> list[str]:
        """Return the codes of these shows and serials, signed with the key that signs now."""
        number, key = await self._signing_key()
        unsigned = [TicketCode(number, event_id, serial) for event_id, serial in codes]
        return await asyncio.to_thread(lambda: [code.sign(key) for code in unsigned])

    async def read(self, texts: Sequence[str]) -> list[TicketCode | None]:
        """Return what each code says; None for one that no ticket key signed."""
        await self._load_for(number for text in texts if (number := key_number_of(text)) is not None)
        keys = self._verifying
        if len(texts) == 1:
            return [TicketCode.read(texts[0], keys)]
        return await asyncio.to_thread(lambda: [TicketCode.read(text, keys) for text in texts])

    async def public_keys(self) -> list[dict[str, Any]]:
        """Return the public keys (RFC 7517, RFC 8037), each with its `number`, oldest first."""
        await self._load_after(self.CACHE_SECONDS)
        return [{**_public_jwk(key.verifying), "number": key.number} for key in self._keys.values()]

    async def ensure_key(self) -> None:
        """Create a key that signs at once if there is none whose private part can be decrypted."""
        await self._load_after(0)
        if not any(key.signing for key in self._keys.values()):
            await self._create(timedelta())

    async def rotate_if_due(self) -> None:
        """Create the next key if the newest one has signed for MAX_AGE."""
        await self._load_after(0)
        newest = max((key.signs_from for key in self._keys.values() if key.signing), default=None)
        if newest is not None and newest <= self._context.clock.now() - MAX_AGE:
            await self._create(LEAD_TIME)

    async def _signing_key(self) -> tuple[int, SigningKey]:
        await self._load_after(self.CACHE_SECONDS)
        if (found := self._current()) is None:
            await self.ensure_key()
            found = self._current()
        if found is None:
            raise LookupError("No ticket key can be decrypted, and no new one could be stored.")
        return found

    def _current(self) -> tuple[int, SigningKey] | None:
        """Return the newest key that has begun to sign."""
        now = self._context.clock.now()
        usable = [(key.signs_from <= now, key.number, key.signing) for key in self._keys.values() if key.signing]
        started = [(number, key) for has_started, number, key in usable if has_started]
        waiting = [(number, key) for has_started, number, key in usable if not has_started]
        return next(iter([*reversed(started), *waiting]), None)

    async def _create(self, lead_time: timedelta) -> None:
        """Store a new key under the next number. Of two processes that do so at once, one stores its key."""
        key = SigningKey.generate("EdDSA")
        async with self._context.transaction() as work:
            number = await TicketKeyRows(work).last_number() + 1
            values = {
                "number": number,
                "public": key.public_jwk(),
                "encrypted": self._sealer.seal(orjson.dumps(key.private_jwk()), str(number)),
                "signs_from": work.now + lead_time,
                "created_at": work.now,
            }
            await insert_key(work, values)
        logger.info("ticket_key_created", number=number, kid=key.kid)
        await self._load_after(0)

    async def _load_for(self, numbers: Iterable[int]) -> None:
        if any(number not in self._verifying for number in numbers):
            await self._load_after(self.MIN_RELOAD_SECONDS)

    async def _load_after(self, seconds: float) -> None:
        """Load the keys if they were loaded more than `seconds` ago."""
        if self._age() < seconds:
            return
        async with self._loading:
            if self._age() < seconds:
                return
            async with self._context.reader() as reader:
                rows = await TicketKeyRows(reader).all()
            self._keys = {row.number: self._keys.get(row.number) or self._loaded(row) for row in rows}
            self._verifying = {number: key.verifying for number, key in self._keys.items()}
            self._loaded_at = self._context.clock.monotonic()

    def _age(self) -> float:
        return self._context.clock.monotonic() - self._loaded_at

    def _loaded(self, row: TicketKey) -> LoadedKey:
        try:
            signing = SigningKey.from_jwk(orjson.loads(self._sealer.open(row.encrypted, str(row.number))))
        except SealBroken:
            logger.warning("ticket_key_unreadable", number=row.number)
            signing = None
        return LoadedKey(row.number, VerifyingKey.from_jwk(row.public), signing, row.signs_from)


@asynccontextmanager
async def open_ticket_keys(context: ServiceContext) -> AsyncIterator[TicketKeys]:
    """Provide the ticket keys, with a first one if there is none."""
    keys = TicketKeys(context)
    await keys.ensure_key()
    yield keys


def _public_jwk(key: VerifyingKey) -> dict[str, Any]:
    return {**key.key.as_dict(private=False), "kid": key.kid, "alg": key.algorithm, "use": "sig"}
