"""Token verification in a system: with identity's public keys, or by asking identity for each token."""

from portico.contracts.identity import IdentityClient, SessionRevoked
from portico.contracts.token_settings import TokenSettings
from portico.kit import Calls, Clock, Principal, System
from portico.kit.auth import (
    IntrospectionVerifier,
    InvalidToken,
    KeyVerifier,
    Revocation,
    RevocationPage,
    TokenFormat,
    TokenVerifier,
    Validation,
)
from portico.kit.messaging import Broadcasts
from portico.kit.runtime import NoSuchService, ServiceRuntime

ISSUER = "identity"


def verifier_of(context: ServiceRuntime) -> TokenVerifier:
    """Return the verifier of a service that issues no tokens itself."""
    return verifier_for(
        context.declaration,
        context.settings_of(TokenSettings),
        public=context.public_calls(),
        own=context.calls(),
        broadcasts=context.broadcasts,
        clock=context.clock,
    )


def verifier_for(
    system: System, settings: TokenSettings, *, public: Calls, own: Calls, broadcasts: Broadcasts, clock: Clock
) -> TokenVerifier:
    """Return the verifier of a process of `system`: as TOKEN_VERIFICATION says, or else the system's default.

    With HS256 there are no public keys, so every verifier asks identity. Without identity, no token is valid.

    Args:
        system: the system whose tokens are verified.
        settings: how tokens are verified, and their issuer.
        public: calls without a token, for public endpoints.
        own: calls with the process's own service token, for endpoints for services only.
        broadcasts: delivers revocations to a verifier with public keys; a verifier that asks identity does not use it.
        clock: source of the time.
    """
    if not has_identity(system):
        return RejectingVerifier()
    source = _Identity(public(IdentityClient), own(IdentityClient))
    form = TokenFormat(issuer=settings.issuer_of(system.info), audience=system.name)
    if (settings.token_verification or system.verification) == "ask" or settings.jwt_algorithm == "HS256":
        return IntrospectionVerifier(source, form, clock)
    verifier = KeyVerifier(source, form, clock)

    def revoke(event: SessionRevoked) -> None:
        verifier.revoke(Revocation("session", event.session_id, event.tokens_expire_at))

    broadcasts.subscribe(SessionRevoked, revoke)
    return verifier


def has_identity(system: System) -> bool:
    """Return whether `system` has a service that issues tokens."""
    try:
        system.placement(ISSUER)
    except NoSuchService:
        return False
    return True


class RejectingVerifier:
    """Verifier of a system without identity: it rejects every token."""

    async def verify(self, token: str) -> Principal:  # noqa: ARG002 every token is rejected
        """Raise InvalidToken."""
        raise InvalidToken("bad_signature", "no service of this system issues tokens")

    changes: int = 0

    def recall(self, fingerprint: bytes, token: str | None = None) -> None:
        """Return None: no token is valid."""

    async def redeem_ticket(self, ticket: str) -> str:  # noqa: ARG002 every ticket is rejected
        """Raise InvalidToken."""
        raise InvalidToken("malformed", "no service of this system issues tickets")

    async def run(self) -> None:
        """Do nothing: there are no keys to refresh."""


class _Identity:
    """Access to identity for verifiers. Public endpoints are called without a token, so that no token is awaited."""

    def __init__(self, public: IdentityClient, own: IdentityClient) -> None:
        self._public = public
        self._own = own

    async def fetch_keys(self) -> object:
        return await self._public.fetch_keys()

    async def fetch_revocations(self, since: str | None, *, wait: float = 0) -> RevocationPage:
        return await self._own.fetch_revocations(since, wait=wait)

    async def validate(self, token: str, *, probe: bool = False) -> Validation:
        return await self._public.validate(token, probe=probe)

    async def redeem_ticket(self, ticket: str) -> str:
        return await self._own.redeem_ticket(ticket)
