from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from portico.kit import Principal, Reader, ServiceContext
from portico.kit.auth import AccessClaims, InvalidToken, UnverifiedToken
from portico.services.identity.tokens.key_ring import KeyRing
from portico.services.identity.tokens.repository import find_bearer, is_token_revoked
from portico.services.identity.tokens.token_issuer import TokenIssuer


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
