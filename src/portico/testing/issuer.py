"""A fake of identity that issues and verifies tokens in tests."""

from collections.abc import Iterable
from datetime import timedelta

from portico.kit.auth.keys import PublicAlgorithm, SigningKey
from portico.kit.auth.principal import UserId
from portico.kit.auth.revocations import Revocation, RevocationPage
from portico.kit.auth.tokens import AccessClaims, InvalidToken, TokenFormat, UnverifiedToken
from portico.kit.auth.verification import Validation, VerificationUnavailable
from portico.kit.foundation.clock import Clock

FORM = TokenFormat(issuer="http://localhost:1", audience="catalog")


class Issuer:
    """Signs tokens, publishes keys and revocations, and validates tokens, as identity does.

    `down = True` makes it unreachable; `request_counts` has the number of requests by kind.
    """

    def __init__(self, clock: Clock, form: TokenFormat = FORM, algorithm: PublicAlgorithm = "EdDSA") -> None:
        self.clock = clock
        self.form = form
        self.keys = [SigningKey.generate(algorithm)]
        self.revocations: list[Revocation] = []
        self.down = False
        self.request_counts: dict[str, int] = {"keys": 0, "revocations": 0, "validate": 0, "tickets": 0}
        self._made = 0
        self._tickets: dict[str, str] = {}

    def claims(
        self,
        subject: str | None = None,
        *,
        permissions: Iterable[str] = (),
        roles: Iterable[str] = (),
        lasting: float = 3600,
    ) -> AccessClaims:
        """Return the claims of a new token of `subject` (a new user by default) that is valid for `lasting` seconds."""
        self._made += 1
        subject = subject or UserId.new()
        now = self.clock.now().replace(microsecond=0)
        return AccessClaims(
            subject=subject,
            token_id=f"token_{self._made}",
            session_id=None if subject.startswith("service:") else f"session_{self._made}",
            issued_at=now,
            expires_at=now + timedelta(seconds=lasting),
            scope=tuple(permissions),
            roles=tuple(roles),
        )

    def sign(self, claims: AccessClaims) -> str:
        """Return a token with `claims`, signed with the newest key."""
        return self.form.sign(claims, self.keys[-1])

    def token(self, subject: str | None = None, *, permissions: Iterable[str] = (), lasting: float = 3600) -> str:
        """Return a new token of `subject`."""
        return self.sign(self.claims(subject, permissions=permissions, lasting=lasting))

    def revoke_session(self, claims: AccessClaims) -> None:
        self.revocations.append(Revocation("session", claims.session_id or "", claims.expires_at))

    def ticket(self, token: str) -> str:
        """Return a ticket for `token` that can be redeemed once."""
        ticket = f"ticket_{len(self._tickets)}_{self._made}"
        self._tickets[ticket] = token
        return ticket

    async def redeem_ticket(self, ticket: str) -> str:
        self._ask("tickets")
        if ticket not in self._tickets:
            raise InvalidToken("malformed", "the ticket was used, has expired or does not exist")
        return self._tickets.pop(ticket)

    async def fetch_keys(self) -> object:
        self._ask("keys")
        return {"keys": [key.public_jwk() for key in self.keys]}

    async def fetch_revocations(self, since: str | None, *, wait: float = 0) -> RevocationPage:  # noqa: ARG002  # it answers at once
        self._ask("revocations")
        start = int(since or 0)
        return RevocationPage(tuple(self.revocations[start:]), str(len(self.revocations)))

    async def validate(self, token: str, *, probe: bool = False) -> Validation:  # noqa: ARG002  # part of the protocol
        self._ask("validate")
        try:
            parts = UnverifiedToken.parse(token)
            key = next((key for key in self.keys if key.kid == parts.kid), self.keys[-1])
            claims = self.form.claims_of(parts.verify(key.verifying), self.clock.now())
        except InvalidToken as error:
            return Validation(valid=False, reason=error.reason)
        if any(mark.id == claims.session_id for mark in self.revocations):
            return Validation(valid=False, reason="revoked")
        return Validation(valid=True, roles=claims.roles, permissions=claims.scope)

    def _ask(self, what: str) -> None:
        self.request_counts[what] += 1
        if self.down:
            raise VerificationUnavailable
