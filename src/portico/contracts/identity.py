"""The client and the events of identity: users, sessions, tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from portico.kit import Client, Event, Identifier, Summary, UserId
from portico.kit.auth import (
    InvalidToken,
    Reason,
    Revocation,
    RevocationKind,
    RevocationPage,
    Sealer,
    Validation,
    VerificationUnavailable,
)
from portico.kit.calls import CallFailed, Refused

__all__ = [
    "EmailVerificationRequested",
    "IdentityClient",
    "MailedTokenSeal",
    "PasswordResetRequested",
    "SessionId",
    "SessionRevoked",
    "TokenId",
    "UserCreated",
    "UserDeleted",
    "UserId",
    "UserUpdated",
]

_NOT_FOUND = 404
_DEFAULT_RETRY_AFTER = 1.0  # seconds


class SessionId(Identifier, prefix="session"):
    """Id of a session: one sign-in on one device."""


class TokenId(Identifier, prefix="token"):
    """Id of an access token."""


class UserCreated(Event, type="user.created", version=1, aggregate="user_id"):
    """A user account was created."""

    user_id: UserId
    email: str
    name: str


class UserUpdated(Event, type="user.updated", version=1, aggregate="user_id"):
    """The name, email, roles or active state of a user account changed."""

    user_id: UserId
    email: str
    name: str
    is_active: bool


class UserDeleted(Event, type="user.deleted", version=1, aggregate="user_id"):
    """A user account was deleted. Services must delete the personal data of the user."""

    user_id: UserId


class SessionRevoked(Event, type="session.revoked", version=1, aggregate="user_id"):
    """A session was revoked: its access tokens are no longer valid.

    The last of its tokens expires at `tokens_expire_at`. Verifiers may forget the revocation after that.
    """

    session_id: SessionId
    user_id: UserId
    tokens_expire_at: datetime


class PasswordResetRequested(Event, type="password_reset.requested", version=1, aggregate="user_id"):
    """A user asked to reset the password. `sealed_token` proves the mailbox: see MailedTokenSeal."""

    user_id: UserId
    sealed_token: str
    expires_at: datetime


class EmailVerificationRequested(Event, type="email_verification.requested", version=1, aggregate="user_id"):
    """A user asked to verify the email address. `sealed_token` proves the mailbox: see MailedTokenSeal."""

    user_id: UserId
    sealed_token: str
    expires_at: datetime


class MailedTokenSeal:
    """Encryption of the tokens that users receive by mail, with a key derived from SERVICE_SECRET.

    Events are stored in outboxes, brokers, event logs and dead letters, in which a token must not be readable.
    """

    def __init__(self, service_secret: str) -> None:
        self._sealer = Sealer(service_secret, "portico mailed tokens")

    def seal(self, token: str, user_id: UserId) -> str:
        """Return `token` encrypted, for this user's mail only."""
        return self._sealer.seal(token.encode(), user_id)

    def open(self, sealed_token: str, user_id: UserId) -> str:
        """Return the token. Raises SealBroken."""
        return self._sealer.open(sealed_token, user_id).decode()


class IdentityClient(Client, service="identity"):
    """Fetch keys and revocations, validate tokens, redeem tickets. Raises VerificationUnavailable if identity is down.

    Polling calls are sent about once a second even while the breaker is open. The breaker may stay open for a minute,
    but tokens that were revoked after identity's recovery must be refused within two seconds.
    """

    async def fetch_keys(self) -> object:
        """Return the public keys that verify access tokens, as a JWK set."""
        async with _unavailable_on_failure():
            return await self.get("/.well-known/jwks.json", probe=True, answer=dict[str, Any])

    async def fetch_revocations(self, since: str | None, *, wait: float = 0) -> RevocationPage:
        """Return the revocations after the cursor `since`; all unexpired ones if None. For services only.

        If there are none, identity waits up to `wait` seconds for the next one.
        """
        async with _unavailable_on_failure():
            page = await self.get(
                "/auth/revocations", params={"since": since, "wait": wait or None}, probe=True, answer=_Revocations
            )
        return RevocationPage(tuple(each.as_revocation() for each in page.revocations), page.cursor, page.more)

    async def validate(self, token: str, *, probe: bool = False) -> Validation:
        """Return whether an access token is valid now. `probe` sends the call through an open breaker."""
        async with _unavailable_on_failure():
            found = await self.post(
                "/validate-token", json={"token": token}, only_reads=True, probe=probe, answer=_Validation
            )
        return Validation(found.valid, found.reason, found.email, found.roles, found.permissions)

    async def redeem_ticket(self, ticket: str) -> str:
        """Return the access token of a one-time ticket. For services only. Raises InvalidToken."""
        try:
            async with _unavailable_on_failure():
                return (await self.post("/auth/tickets/redeem", json={"ticket": ticket}, answer=_Redeemed)).access_token
        except Refused as refused:
            raise InvalidToken("malformed", "the ticket was used, has expired or never existed") from refused


class _Revocation(Summary):
    kind: RevocationKind
    subject: str
    expires_at: datetime
    issued_before: datetime | None = None

    def as_revocation(self) -> Revocation:
        return Revocation(self.kind, self.subject, self.expires_at, self.issued_before)


class _Revocations(Summary):
    revocations: list[_Revocation]
    cursor: str
    more: bool


class _Validation(Summary):
    valid: bool
    reason: Reason | None = None
    email: str | None = None
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()


class _Redeemed(Summary):
    access_token: str


@asynccontextmanager
async def _unavailable_on_failure() -> AsyncIterator[None]:
    """Convert failed calls to VerificationUnavailable. A 404 is a valid response and is raised unchanged."""
    try:
        yield
    except Refused as refused:
        if refused.status == _NOT_FOUND:
            raise
        raise VerificationUnavailable(refused.retry_after or _DEFAULT_RETRY_AFTER) from refused
    except CallFailed as failed:
        raise VerificationUnavailable(failed.retry_after or _DEFAULT_RETRY_AFTER) from failed
