"""How a service knows its callers by itself: with identity's public keys, or by asking identity."""

import asyncio
import contextvars
import dataclasses
import hashlib
from typing import Final, Protocol

from portico.kit.auth.keys import UnusableKey, VerifyingKey, read_key_set
from portico.kit.auth.principal import Principal
from portico.kit.auth.recent import Recent
from portico.kit.auth.revocations import Revocation, RevocationPage, RevocationSet
from portico.kit.auth.tokens import LEEWAY, InvalidToken, Reason, TokenFormat, UnverifiedToken
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.probe_limiter import ProbeLimiter
from portico.kit.telemetry.logs import get_logger

log = get_logger(__name__)

MOST_TOKENS: Final = 10_000


class VerificationUnavailable(Exception):
    """Identity can't be asked and what is known here does not suffice. `retry_after` is in seconds."""

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__("who calls can't be verified right now")
        self.retry_after = retry_after


class TokenVerifier(Protocol):
    """Tells who bears a token."""

    async def verify(self, token: str) -> Principal:
        """The bearer of `token`. Raises InvalidToken, VerificationUnavailable."""

    async def redeem_ticket(self, ticket: str) -> str:
        """The token that a one-time ticket stands for, once. Raises InvalidToken, VerificationUnavailable."""

    async def run(self) -> None:
        """Keep what verification needs fresh, until cancelled. Returns at once where nothing needs to be."""


class TicketSource(Protocol):
    """Who gives out tickets: identity."""

    async def redeem_ticket(self, ticket: str) -> str:
        """The token that `ticket` stands for, once. Raises InvalidToken, VerificationUnavailable."""


class KeySource(TicketSource, Protocol):
    """Where public keys and ended sessions are learnt of: identity."""

    async def fetch_keys(self) -> object:
        """The JWK set, as JSON has it. Raises VerificationUnavailable."""

    async def fetch_revocations(self, since: str | None, *, wait: float = 0) -> RevocationPage:
        """Return the revocations after the cursor `since`; all that are in force with None.

        If there are none, identity waits up to `wait` seconds for one.

        Raises:
            VerificationUnavailable: identity does not answer.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Validation:
    """Identity's answer about one token (`POST /validate-token`)."""

    valid: bool
    reason: Reason | None = None
    email: str | None = None
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()


class ValidationSource(TicketSource, Protocol):
    """Who can be asked about a token: identity."""

    async def validate(self, token: str, *, probe: bool = False) -> Validation:
        """What identity says of `token`; with `probe` also where it failed too often lately. Raises VerificationUnavailable."""


def fingerprint(token: str) -> bytes:
    """What stands for `token` in memory, so that a dump of it holds no token."""
    return hashlib.sha256(token.encode()).digest()


class KeyVerifier:
    """Verifies with identity's public keys, and learns what ended by whoever tells it, and by identity's feed.

    It keeps the keys it has while identity is down. It reads the feed even if events arrive, because a missing event
    leaves no sign. Identity holds a read open until there is an entry, so reading costs little.

    Args:
        source: identity.
        form: what a token must look like.
        clock: source of the time.
        most_tokens: how many verified tokens are cached.
        refresh_every: seconds between two fetches of the keys.
        poll_every: seconds between two reads of the feed.
        poll_wait: how long (seconds) a read waits for a new entry.
    """

    LOOK_AGAIN_AFTER: Final = 10.0
    """Seconds between two looks for a key that is not known: forged key ids must not become load on identity."""
    RETRY_AFTER: Final = 1.0
    """Seconds between two looks while there is no key at all."""

    def __init__(
        self,
        source: KeySource,
        form: TokenFormat,
        clock: Clock,
        *,
        most_tokens: int = MOST_TOKENS,
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
        self._is_running = False
        self._keys: dict[str, VerifyingKey] = {}
        self._verified: Recent[Principal] = Recent(most_tokens)
        self._revoked = RevocationSet()
        self._cursor: str | None = None
        self._looking = asyncio.Lock()
        self._next_look = 0.0

    async def verify(self, token: str) -> Principal:
        """The bearer of `token`. Raises InvalidToken, VerificationUnavailable where no key was ever had."""
        mark = fingerprint(token)
        principal = self._verified.get(mark)
        if principal is None:
            principal = await self._verify(token)
            self._verified.put(mark, principal)
        elif principal.expires_at.timestamp() + LEEWAY <= self._clock.now().timestamp():
            self._verified.forget(mark)
            raise InvalidToken("expired", "the token has expired")
        if self._revoked.covers(principal):
            raise InvalidToken("revoked", "the token was revoked")
        return principal

    async def redeem_ticket(self, ticket: str) -> str:
        """The token that a one-time ticket stands for, once. Raises InvalidToken, VerificationUnavailable."""
        return await self._source.redeem_ticket(ticket)

    async def run(self) -> None:
        """Fetch keys and read the feed until cancelled. Returns at once if another task does so already."""
        if self._is_running:
            return
        self._is_running = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_keys(), name="keys of identity")
                group.create_task(self._keep_revocations(), name="revocations of identity")
        finally:
            self._is_running = False

    async def refresh_keys(self) -> None:
        """Fetch the key set now. Raises VerificationUnavailable; the keys known so far stay."""
        try:
            keys = read_key_set(await self._source.fetch_keys())
        except UnusableKey as error:
            raise VerificationUnavailable(self.RETRY_AFTER) from error
        if not keys:
            raise VerificationUnavailable(self.RETRY_AFTER)
        if self._keys.keys() - keys.keys():
            self._verified.clear()  # a key withdrawn in an emergency takes the tokens it verified with it
        self._keys = keys

    def hear(self, revocation: Revocation) -> None:
        """Refuse what `revocation` ends from now on; the feed will tell of it too."""
        self._revoked.add(revocation, self._clock.now())

    async def poll_revocations(self, *, wait: float = 0) -> None:
        """Read the new entries of the feed. If there are none, wait up to `wait` seconds for one.

        Raises:
            VerificationUnavailable: identity does not answer. Known revocations stay.
        """
        more = True
        while more:
            page = await self._source.fetch_revocations(self._cursor, wait=wait if self._cursor else 0)
            for revocation in page.revocations:
                self.hear(revocation)
            self._cursor, more = page.cursor, page.more

    async def _verify(self, token: str) -> Principal:
        parts = UnverifiedToken.parse(token)
        key = self._keys.get(parts.kid) or await self._look_for(parts.kid)
        if key is None:
            raise InvalidToken("bad_signature", "the token names a key that is not known")
        return self._form.claims_of(parts.verified_with(key), self._clock.now()).principal()

    async def _look_for(self, kid: str) -> VerifyingKey | None:
        async with self._looking:
            now = self._clock.monotonic()
            if kid not in self._keys and now >= self._next_look:
                self._next_look = now + (self.LOOK_AGAIN_AFTER if self._keys else self.RETRY_AFTER)
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

    async def _keep_keys(self) -> None:
        while True:
            fresh = await self._try_refresh()
            await asyncio.sleep(self._refresh_every if fresh else self.RETRY_AFTER)

    async def _keep_revocations(self) -> None:
        heard = True
        while True:
            try:
                await self.poll_revocations(wait=self._poll_wait)
                heard = True
            except VerificationUnavailable:
                # While identity is down its feed keeps what is revoked, and the cursor stays where it is.
                if heard:
                    log.warning("revocations_unheard", hint="sessions that end now are refused once identity is back")
                heard = False
            await asyncio.sleep(self._poll_every)


class AskingVerifier:
    """Asks identity about each token and believes the answer for at most a second.

    A revoked token is refused a second later at the latest; while identity is down nobody can be verified.
    """

    KEEP: Final = 1.0
    """Seconds an answer is believed."""

    def __init__(
        self, source: ValidationSource, form: TokenFormat, clock: Clock, *, most_tokens: int = MOST_TOKENS
    ) -> None:
        self._source = source
        self._form = form
        self._clock = clock
        self._answers: Recent[tuple[float, Validation]] = Recent(most_tokens)
        self._asking: dict[bytes, asyncio.Task[Validation]] = {}
        self._knocking = ProbeLimiter(clock.monotonic)

    async def verify(self, token: str) -> Principal:
        """The bearer of `token`. Raises InvalidToken, VerificationUnavailable."""
        parts = UnverifiedToken.parse(token)
        answer = await self._answer(token)
        if not answer.valid:
            raise InvalidToken(answer.reason or "malformed", "identity rejected the token")
        # Identity has checked the signature; what the token is for and until when is each verifier's own to check.
        claims = self._form.claims_of(parts.believed(), self._clock.now())
        return dataclasses.replace(
            claims.principal(answer.email), roles=answer.roles, permissions=frozenset(answer.permissions)
        )

    async def redeem_ticket(self, ticket: str) -> str:
        """The token that a one-time ticket stands for, once. Raises InvalidToken, VerificationUnavailable."""
        return await self._source.redeem_ticket(ticket)

    async def run(self) -> None:
        """Nothing needs to be kept fresh."""

    async def _answer(self, token: str) -> Validation:
        mark = fingerprint(token)
        known = self._answers.get(mark)
        if known is not None and self._clock.monotonic() < known[0]:
            return known[1]
        asking = self._asking.get(mark)
        if asking is None:
            # In a context of its own: the answer serves others too.
            asking = asyncio.create_task(self._ask(mark, token), name="ask identity", context=contextvars.Context())
            self._asking[mark] = asking
        # Shielded: the caller who asked first may go away, those who wait for the same answer do not.
        return await asyncio.shield(asking)

    async def _ask(self, mark: bytes, token: str) -> Validation:
        asked_at = self._clock.monotonic()
        try:
            answer = await self._source.validate(token, probe=self._knocking.may_probe())
            self._answers.put(mark, (asked_at + self.KEEP, answer))
            return answer
        finally:
            del self._asking[mark]
