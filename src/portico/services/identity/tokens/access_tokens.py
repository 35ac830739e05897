"""Issue and verify access tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from portico.contracts.identity import TokenId
from portico.kit import Principal, Reader, ServiceContext
from portico.kit.auth import SERVICE_PREFIX, AccessClaims, InvalidToken, TokenFormat, UnverifiedToken, sign_jwt
from portico.services.identity.models import Session
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.domain import AccessToken, delegated, half_hash
from portico.services.identity.tokens.key_ring import KeyRing
from portico.services.identity.tokens.repository import find_bearer, is_token_revoked
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

        It expires no later than the session, and no later than `until`.
        """
        # Claims have whole seconds. A token must not be issued before the moment that revoked earlier tokens.
        issued_at = max(self._clock.now().replace(microsecond=0), user.tokens_valid_from)
        latest = min(session.expires_at, until or session.expires_at).replace(microsecond=0)
        expires_at = min(issued_at + self._lifetime, latest)
        session.cover_token(expires_at)
        return await self._sign(
            AccessClaims(
                subject=user.user_id,
                token_id=TokenId.new(),
                session_id=session.session_id,
                issued_at=issued_at,
                expires_at=expires_at,
                scope=tuple(user.permissions if session.scope is None else delegated(session.scope, user.permissions)),
                roles=tuple(user.roles) if session.client_id is None else (),
                client_id=session.client_id,
            )
        )

    async def issue_id_token(self, session: Session, access: AccessToken, *, nonce: str | None = None) -> str:
        """Return the ID token of a registered client's session (OpenID Connect Core 1.0 section 2)."""
        key = await self._ring.signing_key()
        claims = access.claims
        payload = {
            "iss": self.form.issuer,
            "sub": claims.subject,
            "aud": session.client_id,
            "iat": int(claims.issued_at.timestamp()),
            "exp": int(claims.expires_at.timestamp()),
            "auth_time": int(session.proved_at.timestamp()),
            "sid": session.session_id,
            "at_hash": half_hash(access.text, key.algorithm),
        }
        return sign_jwt(payload if nonce is None else payload | {"nonce": nonce}, key, kind="JWT")

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


@dataclass(frozen=True, slots=True)
class ValidToken:
    """The claims of a valid access token, and its user's email address; services have none."""

    claims: AccessClaims
    email: str | None


class OwnVerifier:
    """Verify tokens with identity's own keys and tables: a revoked token is rejected at once."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    async def verify(self, token: str) -> Principal:
        """Return the bearer of `token`. Raises InvalidToken."""
        valid = await self.validate(token)
        return valid.claims.principal(valid.email)

    async def validate(self, token: str) -> ValidToken:
        """Check the signature, the expiry and the current state of the session. Raises InvalidToken."""
        parts = UnverifiedToken.parse(token)
        key = await self._context.resource(KeyRing).find_verifying_key(parts.kid)
        if key is None:
            raise InvalidToken("bad_signature", "the token's signing key is unknown")
        form = self._context.resource(TokenIssuer).form
        claims = form.claims_of(parts.verify(key), self._context.clock.now())
        async with self._context.reader() as reader:
            return ValidToken(claims, await _check_bearer(reader, claims))

    changes: int = 0

    def recall(self, fingerprint: bytes, token: str | None = None) -> None:
        """Return None: each verification reads the session."""

    async def redeem_ticket(self, ticket: str) -> str:  # noqa: ARG002 identity has no streams
        """Raise InvalidToken, because identity has no streams."""
        raise InvalidToken("malformed", "identity does not accept tickets")

    async def run(self) -> None:
        """Do nothing: the key ring refreshes itself."""


@asynccontextmanager
async def open_verifier(context: ServiceContext) -> AsyncIterator[OwnVerifier]:
    """Provide the verifier to endpoints that check a token other than the caller's."""
    yield OwnVerifier(context)


async def _check_bearer(reader: Reader, claims: AccessClaims) -> str | None:
    """Return the bearer's email address. Raises InvalidToken if a token with a valid signature was revoked."""
    if claims.session_id is None:
        if await is_token_revoked(reader, claims):
            raise InvalidToken("revoked", "the token was revoked")
        return None
    bearer = await find_bearer(reader, claims)
    if bearer is not None and not bearer.is_active:
        raise InvalidToken("user_inactive", "the account is not active")
    if bearer is None or bearer.token_revoked or not bearer.session_open:
        raise InvalidToken("revoked", "the session or the token was revoked")
    if claims.issued_at < bearer.tokens_valid_from:
        raise InvalidToken("revoked", "the token was issued before the account changed")
    return bearer.email
