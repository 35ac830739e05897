"""Verification of access tokens with identity's public keys, and what all verifiers share."""

import asyncio
import dataclasses
import hashlib
from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

from portico.kit.auth.keys import UnusableKey, VerifyingKey, read_key_set
from portico.kit.auth.principal import Principal
from portico.kit.auth.revocations import Revocation, RevocationPage, RevocationSet
from portico.kit.auth.tokens import LEEWAY, InvalidToken, Reason, TokenFormat, UnverifiedToken
from portico.kit.foundation.clock import Clock
from portico.kit.telemetry.logs import get_logger

V = TypeVar("V")

logger = get_logger(__name__)

MAX_TOKENS: Final = 10_000
MAX_REFUSED: Final = 256
"""Refused tokens that are not verified a second time for the same request."""


class VerificationUnavailable(Exception):
    """The token cannot be verified because identity is unavailable. `retry_after` is in seconds."""

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__("the caller cannot be verified at the moment")
        self.retry_after = retry_after


class TokenVerifier(Protocol):
    """Authenticates callers by their tokens."""

    async def verify(self, token: str) -> Principal:
        """Return the bearer of `token`. Raises InvalidToken, VerificationUnavailable."""

    @property
    def changes(self) -> object:
        """Differs from an earlier value whenever a token may have become invalid before it expires."""

    def recall(self, fingerprint: bytes, token: str | None = None) -> Principal | None:
        """Return the bearer of a token that was verified before and is still valid. Does not wait.

        Args:
            fingerprint: the token's `fingerprint`.
            token: the token, which is verified if it is unknown and its key is known.

        Returns:
            The bearer; None if only `verify` can tell.
        """

    async def redeem_ticket(self, ticket: str) -> str:
        """Exchange a one-time ticket for its token. Raises InvalidToken, VerificationUnavailable."""

    async def run(self) -> None:
        """Keep the data for verification up to date until cancelled. Returns at once if there is none."""


class TicketSource(Protocol):
    """Redeems one-time tickets. Identity implements it."""

    async def redeem_ticket(self, ticket: str) -> str:
        """Exchange a one-time ticket for its token. Raises InvalidToken, VerificationUnavailable."""


class KeySource(TicketSource, Protocol):
    """Provides public keys and revocations. Identity implements it."""

    async def fetch_keys(self) -> object:
        """Return the JWK set as parsed JSON. Raises VerificationUnavailable."""

    async def fetch_revocations(self, since: str | None, *, wait: float = 0) -> RevocationPage:
        """Return the revocations after the cursor `since`, or all active ones for None.

        If there are none, identity waits up to `wait` seconds for one.

        Raises:
            VerificationUnavailable: identity does not respond.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Validation:
    """Result of a token's introspection by identity (`POST /validate-token`)."""

    valid: bool
    reason: Reason | None = None
    email: str | None = None
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()


class ValidationSource(TicketSource, Protocol):
    """Introspects tokens. Identity implements it."""

    async def validate(self, token: str, *, probe: bool = False) -> Validation:
        """Introspect `token`.

        Args:
            token: the access token.
            probe: whether the call may pass an open circuit breaker.

        Raises:
            VerificationUnavailable: identity is unavailable.
        """


def fingerprint(token: str) -> bytes:
    """Return a hash that represents `token` in memory, so that a memory dump contains no tokens."""
    return hashlib.sha256(token.encode()).digest()


class LruCache(Generic[V]):
    """A cache of the `limit` most recently used values."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[bytes, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: bytes) -> V | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: bytes, value: V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)

    def remove(self, key: bytes) -> None:
        self._values.pop(key, None)

    def clear(self) -> None:
        self._values.clear()


class KeyVerifier:
    """Verifies tokens with identity's public keys. It learns of revocations from events and from identity's feed.

    It keeps its keys while identity is unavailable. It reads the feed even if events arrive, because a lost event
    leaves no trace. Identity holds a read open until there is an entry, so reading costs little.

    Args:
        source: identity.
        form: issuer and audience of the tokens.
        clock: the current time.
        max_tokens: maximum number of cached tokens.
        refresh_every: how often (seconds) the keys are loaded.
        poll_every: pause (seconds) between reads of the feed.
        poll_wait: how long (seconds) a read waits for a new entry.
    """

    KEY_LOOKUP_INTERVAL: Final = 10.0
    """Seconds between lookups of an unknown key, because forged key ids must not put load on identity."""
    RETRY_AFTER: Final = 1.0
    """Seconds between lookups while there is no key at all."""

    def __init__(
        self,
        source: KeySource,
        form: TokenFormat,
        clock: Clock,
        *,
        max_tokens: int = MAX_TOKENS,
        refresh_every: float = 300.0,
        poll_every: float = 1.0,
        poll_wait: float = 5.0,
    ) -> None:
        self._source = source
        self._form = form
        self._clock = clock
        self._refresh_every = refresh_every
        self._poll_every = poll_every
        self._poll_wait = poll_wait
        self.changes = 0
        self._is_running = False
        self._keys: dict[str, VerifyingKey] = {}
        self._verified: LruCache[Principal] = LruCache(max_tokens)
        self._refused: LruCache[InvalidToken] = LruCache(MAX_REFUSED)
        self._revoked = RevocationSet()
        self._cursor: str | None = None
        self._lookup_lock = asyncio.Lock()
        self._next_lookup = 0.0

    async def verify(self, token: str) -> Principal:
        """Return the bearer of `token`. Raises InvalidToken, or VerificationUnavailable if no key was ever loaded."""
        key = fingerprint(token)
        principal = self._verified.get(key)
        if principal is None:
            if (refused := self._refused.get(key)) is not None:
                self._refused.remove(key)  # the next time, the token is verified again
                raise InvalidToken(refused.reason, str(refused))
            principal = await self._verify(token)
            self._verified.put(key, principal)
        elif self._has_expired(principal):
            self._verified.remove(key)
            raise InvalidToken("expired", "the token has expired")
        if self._revoked.covers(principal):
            raise InvalidToken("revoked", "the token was revoked")
        return principal

    def recall(self, fingerprint: bytes, token: str | None = None) -> Principal | None:
        """Return the bearer of a token that was verified before, or can be now, and is still valid. Does not wait."""
        principal = self._verified.get(fingerprint)
        if principal is None and token is not None:
            principal = self._verify_now(fingerprint, token)
        if principal is None or self._has_expired(principal) or self._revoked.covers(principal):
            return None
        return principal

    def _verify_now(self, fingerprint: bytes, token: str) -> Principal | None:
        """Verify a token whose key is known. A refusal is kept for the `verify` that follows."""
        try:
            parts = UnverifiedToken.parse(token)
            key = self._keys.get(parts.kid)
            if key is None:
                return None
            principal = self._form.claims_of(parts.verify(key), self._clock.now()).principal()
        except InvalidToken as error:
            self._refused.put(fingerprint, error)
            return None
        self._verified.put(fingerprint, principal)
        return principal

    async def redeem_ticket(self, ticket: str) -> str:
        """Exchange a one-time ticket for its token. Raises InvalidToken, VerificationUnavailable."""
        return await self._source.redeem_ticket(ticket)

    async def run(self) -> None:
        """Fetch keys and read the feed until cancelled. Returns at once if another task does so already."""
        if self._is_running:
            return
        self._is_running = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._refresh_keys(), name="keys of identity")
                group.create_task(self._poll_feed(), name="revocations of identity")
        finally:
            self._is_running = False

    async def refresh_keys(self) -> None:
        """Load the key set. Raises VerificationUnavailable; the known keys stay in use."""
        try:
            keys = read_key_set(await self._source.fetch_keys())
        except UnusableKey as error:
            raise VerificationUnavailable(self.RETRY_AFTER) from error
        if not keys:
            raise VerificationUnavailable(self.RETRY_AFTER)
        if self._keys.keys() - keys.keys():
            self._verified.clear()  # tokens verified with a withdrawn key must be verified again
            self.changes += 1
        self._keys = keys

    def revoke(self, revocation: Revocation) -> None:
        """Reject the tokens that `revocation` affects from now on."""
        self._revoked.add(revocation, self._clock.now())
        self.changes += 1

    async def poll_revocations(self, *, wait: float = 0) -> None:
        """Read the new entries of the feed. If there are none, wait up to `wait` seconds for one.

        Raises:
            VerificationUnavailable: identity does not respond. Known revocations stay in force.
        """
        more = True
        while more:
            page = await self._source.fetch_revocations(self._cursor, wait=wait if self._cursor else 0)
            for revocation in page.revocations:
                self.revoke(revocation)
            self._cursor, more = page.cursor, page.more

    def _has_expired(self, principal: Principal) -> bool:
        return principal.expires_at.timestamp() + LEEWAY <= self._clock.now().timestamp()

    async def _verify(self, token: str) -> Principal:
        parts = UnverifiedToken.parse(token)
        key = self._keys.get(parts.kid) or await self._look_up_key(parts.kid)
        if key is None:
            raise InvalidToken("bad_signature", "the token names an unknown key")
        return self._form.claims_of(parts.verify(key), self._clock.now()).principal()

    async def _look_up_key(self, kid: str) -> VerifyingKey | None:
        async with self._lookup_lock:
            now = self._clock.monotonic()
            if kid not in self._keys and now >= self._next_lookup:
                self._next_lookup = now + (self.KEY_LOOKUP_INTERVAL if self._keys else self.RETRY_AFTER)
                await self._try_refresh()
        if not self._keys:
            raise VerificationUnavailable(self.RETRY_AFTER)
        return self._keys.get(kid)

    async def _try_refresh(self) -> bool:
        try:
            await self.refresh_keys()
        except VerificationUnavailable:
            return False
        return True

    async def _refresh_keys(self) -> None:
        while True:
            fresh = await self._try_refresh()
            await asyncio.sleep(self._refresh_every if fresh else self.RETRY_AFTER)

    async def _poll_feed(self) -> None:
        is_available = True
        while True:
            try:
                await self.poll_revocations(wait=self._poll_wait)
                is_available = True
            except VerificationUnavailable:
                # The feed continues at the cursor once identity is available.
                if is_available:
                    logger.warning(
                        "revocation_feed_unavailable", hint="revoked sessions are rejected once identity is available"
                    )
                is_available = False
            await asyncio.sleep(self._poll_every)
