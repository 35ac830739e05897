from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from portico.contracts.identity import TokenId
from portico.kit import ServiceContext
from portico.kit.auth import SERVICE_PREFIX, AccessClaims, TokenFormat
from portico.services.identity.sessions.models import Session
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.domain import AccessToken
from portico.services.identity.tokens.key_ring import KeyRing
from portico.services.identity.users.models import User


class TokenIssuer:
    """Sign access tokens with the current signing key."""

    def __init__(self, context: ServiceContext) -> None:
        self._ring = context.resource(KeyRing)
        self._clock = context.clock
        settings = context.settings_of(IdentitySettings)
        self.form = TokenFormat(settings.issuer_of(context.system), context.system.name)
        self._lifetime = timedelta(minutes=settings.access_token_expire_minutes)
        self._service_lifetime = timedelta(minutes=settings.service_token_expire_minutes)

    async def issue_for_session(self, session: Session, user: User, *, until: datetime | None = None) -> AccessToken:
        """Return a token for a session and its user. Both are locked, so the claims hold until the commit.

        `until` is the latest expiry.
        """
        # Claims have whole seconds. A token must not be issued before the moment that revoked earlier tokens.
        issued_at = max(self._clock.now().replace(microsecond=0), user.tokens_valid_from)
        expires_at = min(issued_at + self._lifetime, until or datetime.max.replace(tzinfo=issued_at.tzinfo))
        session.cover_token(expires_at)
        return await self._sign(
            AccessClaims(
                subject=user.user_id,
                token_id=TokenId.new(),
                session_id=session.session_id,
                issued_at=issued_at,
                expires_at=expires_at,
                scope=tuple(user.permissions),
                roles=tuple(user.roles),
            )
        )

    async def issue_for_service(self, name: str) -> AccessToken:
        """Return a short-lived token of the service `name`."""
        now = self._clock.now().replace(microsecond=0)
        return await self._sign(
            AccessClaims(
                subject=f"{SERVICE_PREFIX}{name}",
                token_id=TokenId.new(),
                session_id=None,
                issued_at=now,
                expires_at=now + min(self._service_lifetime, self._lifetime),
            )
        )

    async def _sign(self, claims: AccessClaims) -> AccessToken:
        return AccessToken(self.form.sign(claims, await self._ring.signing_key()), claims)


@asynccontextmanager
async def open_token_issuer(context: ServiceContext) -> AsyncIterator[TokenIssuer]:
    """Provide the service's token issuer. The key ring is opened before it."""
    yield TokenIssuer(context)
