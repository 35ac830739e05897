from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import Select, and_, bindparam, delete, exists, func, select, update
from sqlalchemy import Table as CoreTable

from portico.kit import Reader, UnitOfWork, UserId
from portico.kit.auth import AccessClaims
from portico.kit.data import Statement, insert_if_absent
from portico.services.identity.models import RefreshToken, Revocation, Session
from portico.services.identity.repository import ExpiredRows, finished_sessions
from portico.services.identity.tokens.domain import LOCKOUT_DURATION, LOCKOUT_WINDOW, MAIL_WINDOW, LoginKey, MailPurpose
from portico.services.identity.tokens.models import MailedToken, MailRequest, SignInThrottle, StoredKey, Ticket
from portico.services.identity.users.models import User

_MAX_INSERTS: Final = 3
_IS_REVOKED: Final = exists().where(Revocation.kind == "token", Revocation.subject == bindparam("token_id"))
_SELECT_REVOKED: Final = Statement(select(_IS_REVOKED.label("revoked")))
_SELECT_BEARER: Final = Statement(
    select(
        User.email,
        User.is_active,
        User.tokens_valid_from,
        Session.ended_at,
        Session.expires_at,
        _IS_REVOKED.label("revoked"),
    )
    .join(Session, and_(Session.user_id == User.user_id, Session.session_id == bindparam("session_id")))
    .where(User.user_id == bindparam("user_id"))
)


class StoredKeys:
    """Signing keys in the order in which they take over."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def all(self) -> Sequence[StoredKey]:
        """Return all keys, oldest first."""
        return await self.source.all(select(StoredKey).order_by(StoredKey.signs_from, StoredKey.kid))

    async def find_newest(self) -> StoredKey | None:
        """Return the key that takes over last."""
        statement: Select[Any] = select(StoredKey).order_by(StoredKey.signs_from.desc(), StoredKey.kid.desc())
        return await self.source.one(statement.limit(1))


async def delete_all_keys(work: UnitOfWork) -> None:
    """Delete all signing keys: every access token becomes invalid."""
    await work.execute(delete(StoredKey))


class Throttles:
    """Failed sign-ins per account and per client address."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def find(self, login_key: LoginKey, *, lock: bool = False) -> Sequence[SignInThrottle]:
        """Return the existing throttles of the account and of the address."""
        statement = select(SignInThrottle).where(SignInThrottle.key.in_(login_key.keys)).order_by(SignInThrottle.key)
        return await self.source.all(statement.with_for_update() if lock else statement)


async def insert_throttles(work: UnitOfWork, login_key: LoginKey) -> None:
    """Insert the throttles of the account and of the address unless they exist."""
    for key in login_key.keys:
        await _insert_throttle(work, key)


async def lock_throttles(work: UnitOfWork, login_key: LoginKey) -> list[SignInThrottle]:
    """Return the throttles of the account and of the address, locked, inserting missing ones. Raises LookupError."""
    return [await _lock_throttle(work, key) for key in login_key.keys]


async def clear_account_failures(work: UnitOfWork, login_key: LoginKey) -> None:
    """Clear the account's failures. Those of the address stay, because it may be guessing at other accounts."""
    statement = update(SignInThrottle).where(SignInThrottle.key == login_key.account_key)
    await work.execute(statement.values(failures=[], locked_until=None))


async def _lock_throttle(work: UnitOfWork, key: str) -> SignInThrottle:
    for _ in range(_MAX_INSERTS):  # the clean-up job may delete the row between two statements
        throttle = await work.get(SignInThrottle, key, lock=True)
        if throttle is not None:
            return throttle
        await _insert_throttle(work, key)
    raise LookupError("The throttle's row is deleted repeatedly.")


async def _insert_throttle(work: UnitOfWork, key: str) -> None:
    table = cast("CoreTable", SignInThrottle.__table__)
    await insert_if_absent(work, table, {"key": key, "failures": [], "changed_at": work.now})


_MAIL_REQUESTS = cast("CoreTable", MailRequest.__table__)


async def insert_mail_request(work: UnitOfWork, purpose: MailPurpose, email_key: str) -> None:
    """Insert a request for a mail unless the same one waits already."""
    values = {"purpose": purpose, "email_key": email_key, "requested_at": work.now}
    await insert_if_absent(work, _MAIL_REQUESTS, values)


async def take_mail_request(work: UnitOfWork) -> MailRequest | None:
    """Return the oldest request that no other transaction is handling, and delete it. None if there is none."""
    oldest: Select[Any] = select(MailRequest).order_by(MailRequest.requested_at)
    request = await work.one(oldest.limit(1).with_for_update(skip_locked=True))
    if request is not None:
        same = (MailRequest.purpose == request.purpose, MailRequest.email_key == request.email_key)
        await work.execute(delete(MailRequest).where(*same).execution_options(synchronize_session=False))
    return request


async def count_mailed_tokens(work: UnitOfWork, user_id: UserId, purpose: MailPurpose, *, since: datetime) -> int:
    """Return how many tokens were mailed to the user for a purpose since a moment."""
    statement: Select[int] = (
        select(func.count())
        .select_from(MailedToken)
        .where(MailedToken.user_id == user_id, MailedToken.purpose == purpose, MailedToken.created_at > since)
    )
    return int((await work.execute(statement)).scalar_one())


async def delete_mailed_tokens(work: UnitOfWork, user_id: UserId, purpose: MailPurpose) -> None:
    """Delete all of the user's tokens for a purpose."""
    statement = delete(MailedToken).where(MailedToken.user_id == user_id, MailedToken.purpose == purpose)
    await work.execute(statement.execution_options(synchronize_session=False))


async def take_ticket(work: UnitOfWork, ticket: Ticket) -> bool:
    """Delete a ticket. Return whether this transaction deleted it: of two concurrent ones, one does."""
    statement = delete(Ticket).where(Ticket.digest == ticket.digest)
    deleted = await work.execute(statement.execution_options(synchronize_session=False))
    return bool(deleted.rowcount)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Bearer:
    """Current state of the session and the user that an access token belongs to."""

    email: str | None
    is_active: bool
    tokens_valid_from: datetime
    session_open: bool
    token_revoked: bool


async def is_token_revoked(source: Reader, claims: AccessClaims) -> bool:
    """Whether this single token was revoked."""
    [row] = await source.rows(_SELECT_REVOKED, {"token_id": claims.token_id})
    return bool(row.revoked)


async def find_bearer(source: Reader, claims: AccessClaims) -> Bearer | None:
    """Return the state of the token's session and user, read by one statement. None if either does not exist."""
    values = {"token_id": claims.token_id, "session_id": claims.session_id, "user_id": claims.subject}
    for row in await source.rows(_SELECT_BEARER, values):
        session_open = row.ended_at is None and row.expires_at > source.now
        return Bearer(row.email, row.is_active, row.tokens_valid_from, session_open, bool(row.revoked))
    return None


async def find_refresh_token(source: Reader, digest: str) -> tuple[RefreshToken, Session, User] | None:
    """Return the refresh token with this digest, its session and its user."""
    statement = (
        select(RefreshToken, Session, User)
        .join(Session, Session.session_id == RefreshToken.session_id)
        .join(User, User.user_id == Session.user_id)
        .where(RefreshToken.digest == digest)
    )
    row = (await source.execute(statement)).first()
    return None if row is None else (row.RefreshToken, row.Session, row.User)


def expired_token_rows(now: datetime) -> list[ExpiredRows]:
    """Return what may be deleted. Delete it before the sessions that tickets refer to."""
    return [
        ExpiredRows(Ticket.digest, Ticket.expires_at < now),
        ExpiredRows(Ticket.digest, Ticket.session_id.in_(finished_sessions(now))),
        ExpiredRows(MailedToken.digest, MailedToken.expires_at < now - MAIL_WINDOW),
        ExpiredRows(SignInThrottle.key, SignInThrottle.changed_at < now - LOCKOUT_WINDOW - LOCKOUT_DURATION),
    ]
