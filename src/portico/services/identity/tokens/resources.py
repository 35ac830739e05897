from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from portico.contracts.identity import TokenId
from portico.kit import Principal, ServiceContext
from portico.kit.auth import SERVICE_PREFIX, AccessClaims, InvalidToken, TokenFormat, UnverifiedToken
from portico.services.identity.keys.resources import KeyRing
from portico.services.identity.roles.domain import permissions_of
from portico.services.identity.roles.models import Role
from portico.services.identity.sessions.models import Session
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.domain import AccessToken
from portico.services.identity.tokens.queries import Standing, standing_of
from portico.services.identity.users.models import User


class TokenIssuer:
    """Signs access tokens with the key of the hour."""

    def __init__(self, context: ServiceContext, ring: KeyRing) -> None:
        self._ring = ring
        self._clock = context.clock
        self.form = TokenFormat(context.settings_of(IdentitySettings).issuer, context.system.name)
        self.lifetime = timedelta(minutes=context.settings_of(IdentitySettings).access_token_expire_minutes)
        self._service_lifetime = timedelta(minutes=context.settings_of(IdentitySettings).service_token_expire_minutes)

    async def for_session(
        self, session: Session, user: User, roles: Sequence[Role], *, until: datetime | None = None
    ) -> AccessToken:
        """A token of `user` in `session`, both locked: what it says must still be so when they are let go.

        `until` is a moment that it must not outlive.
        """
        # Issued no earlier than what ended the tokens before: a second is all that a token tells of time.
        issued_at = max(self._clock.now().replace(microsecond=0), user.tokens_valid_from)
        expires_at = min(issued_at + self.lifetime, until or datetime.max.replace(tzinfo=issued_at.tzinfo))
        session.tokens_expire_at = max(session.tokens_expire_at, expires_at)
        return await self._signed(
            AccessClaims(
                subject=user.user_id,
                token_id=TokenId.new(),
                session_id=session.session_id,
                issued_at=issued_at,
                expires_at=expires_at,
                scope=tuple(permissions_of(roles)),
                roles=tuple(role.name for role in roles),
            )
        )

    async def for_service(self, name: str) -> AccessToken:
        """A short-lived token of the service called `name`."""
        now = self._clock.now().replace(microsecond=0)
        return await self._signed(
            AccessClaims(
                subject=f"{SERVICE_PREFIX}{name}",
                token_id=TokenId.new(),
                session_id=None,
                issued_at=now,
                expires_at=now + min(self._service_lifetime, self.lifetime),
            )
        )

    async def _signed(self, claims: AccessClaims) -> AccessToken:
        return AccessToken(self.form.sign(claims, await self._ring.signing()), claims)


@asynccontextmanager
async def open_issuer(context: ServiceContext) -> AsyncIterator[TokenIssuer]:
    """The service's issuer; the key ring is opened before it."""
    yield TokenIssuer(context, context.resource(KeyRing))


class OwnVerifier:
    """Identity verifies by its own keys and its own tables: what was revoked is refused at once."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    async def verify(self, token: str) -> Principal:
        """The bearer of `token`. Raises InvalidToken."""
        claims, standing = await self.validated(token)
        return claims.principal(standing.email)

    async def validated(self, token: str) -> tuple[AccessClaims, Standing]:
        """What `token` says and how its bearer stands. Raises InvalidToken."""
        parts = UnverifiedToken.parse(token)
        key = await self._context.resource(KeyRing).verifying(parts.kid)
        if key is None:
            raise InvalidToken("bad_signature", "the token names a key that is not known")
        form = self._context.resource(TokenIssuer).form
        claims = form.claims_of(parts.verified_with(key), self._context.clock.now())
        async with self._context.reader() as reader:
            return claims, await standing_of(reader, claims)

    async def redeem_ticket(self, ticket: str) -> str:  # noqa: ARG002 there is nothing to open with one
        """Raises InvalidToken: identity has no streams."""
        raise InvalidToken("malformed", "identity takes no tickets for itself")

    async def run(self) -> None:
        """Nothing needs to be kept fresh: the key ring reads itself again."""


@asynccontextmanager
async def open_verifier(context: ServiceContext) -> AsyncIterator[OwnVerifier]:
    """The verifier, for those who ask about a token that is not their own."""
    yield OwnVerifier(context)
