"""Identity: all that other services may know of it."""

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
    Validation,
    VerificationUnavailable,
)
from portico.kit.calls import CallFailed, Refused

__all__ = [
    "IdentityClient",
    "SessionId",
    "SessionRevoked",
    "TokenId",
    "UserCreated",
    "UserDeleted",
    "UserId",
    "UserUpdated",
]

_NOT_FOUND = 404
_SOON = 1.0  # seconds


class SessionId(Identifier, prefix="session"):
    """A sign-in on one device, from its start to its end."""


class TokenId(Identifier, prefix="token"):
    """An access token."""


class UserCreated(Event, type="user.created", version=1, aggregate="user_id"):
    """An account was opened."""

    user_id: UserId
    email: str
    name: str


class UserUpdated(Event, type="user.updated", version=1, aggregate="user_id"):
    """An account is called otherwise, has other roles, or may or may not sign in from now on."""

    user_id: UserId
    email: str
    name: str
    is_active: bool


class UserDeleted(Event, type="user.deleted", version=1, aggregate="user_id"):
    """An account was deleted: who it was is to be forgotten."""

    user_id: UserId


class SessionRevoked(Event, type="session.revoked", version=1, aggregate="user_id"):
    """A sign-in ended before its time: its access tokens are worth nothing from now on.

    The last of them expires at `tokens_expire_at`; whoever verifies tokens may forget it then.
    """

    session_id: SessionId
    user_id: UserId
    tokens_expire_at: datetime


class IdentityClient(Client, service="identity"):
    """What services ask of identity. Raises VerificationUnavailable where identity can't answer.

    Verifiers ask about once a second also while the breaker is open: it may stay so for a minute, and
    what ended since identity is back has to be refused within two seconds.
    """

    async def fetch_keys(self) -> object:
        """The public keys by which access tokens are verified, as a JWK set."""
        async with _answering():
            return await self.get("/.well-known/jwks.json", probe=True, answer=dict[str, Any])

    async def fetch_revocations(self, since: str | None) -> RevocationPage:
        """What ended after the cursor `since`; all ends that still matter with None. For services only."""
        async with _answering():
            page = await self.get("/auth/revocations", params={"since": since}, probe=True, answer=_Revocations)
        return RevocationPage(tuple(each.as_revocation() for each in page.revocations), page.cursor, page.more)

    async def validate(self, token: str, *, probe: bool = False) -> Validation:
        """Whether an access token holds at this moment. `probe`: see `Outgoing`."""
        asked = {"token": token}
        async with _answering():
            found = await self.post("/validate-token", json=asked, only_reads=True, probe=probe, answer=_Validation)
        return Validation(found.valid, found.reason, found.email, found.roles, found.permissions)

    async def redeem_ticket(self, ticket: str) -> str:
        """The access token that a one-time ticket stands for. For services only. Raises InvalidToken."""
        try:
            async with _answering():
                return (await self.post("/auth/tickets/redeem", json={"ticket": ticket}, answer=_Redeemed)).access_token
        except Refused as refused:
            raise InvalidToken("malformed", "the ticket was used, has expired or never was") from refused


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
async def _answering() -> AsyncIterator[None]:
    """Whatever keeps identity from answering means that nobody can be verified; that something is not there is an answer."""
    try:
        yield
    except Refused as refused:
        if refused.status == _NOT_FOUND:
            raise
        raise VerificationUnavailable(refused.retry_after or _SOON) from refused
    except CallFailed as failed:
        raise VerificationUnavailable(failed.retry_after or _SOON) from failed
