"""SQL of sessions, revocations and the audit log, and what all of identity shares: singleton rows, expired rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, delete, func, or_, select, update

from portico.contracts.identity import SessionId
from portico.kit import ClientInfo, Reader, Repository, Slice, UnitOfWork, UserId, Window, newest_first
from portico.kit.data import Statement
from portico.services.identity.errors import SessionNotFound
from portico.services.identity.models import (
    REVOCATION_FEED,
    REVOCATION_LEEWAY,
    AuditAction,
    AuditEntry,
    RefreshToken,
    Revocation,
    Session,
    SingletonRow,
)

_BATCH: Final = 1000
MAX_FEED_ENTRIES: Final = 1000
_RETENTION: Final = timedelta(days=1)

_REVOCATIONS: Any = Revocation.__table__
_AFTER = Statement(
    select(_REVOCATIONS)
    .where((_REVOCATIONS.c.position > bindparam("position")) | _REVOCATIONS.c.position.is_(None))
    .order_by(_REVOCATIONS.c.position.is_not(None), _REVOCATIONS.c.position)
    .limit(bindparam("limit", type_=Integer))
)


async def lock_singleton(work: UnitOfWork, name: str) -> SingletonRow:
    """Lock the singleton row `name` until the transaction ends. Raises LookupError."""
    row = await work.get(SingletonRow, name, lock=True)
    if row is None:
        raise LookupError(f"The singleton row {name!r} is missing. Run the migrations.")
    return row


def audit(
    work: UnitOfWork,
    action: AuditAction,
    *,
    actor: str | None = None,
    user_id: str | None = None,
    client: ClientInfo | None = None,
    **details: Any,
) -> None:
    """Add an entry to the audit log, in the transaction of the change that it describes.

    Args:
        work: the transaction.
        action: what was done.
        actor: who did it.
        user_id: the user that it was done to.
        client: where the request came from.
        details: further JSON values; no secrets and no email addresses.
    """
    work.add(
        AuditEntry(
            at=work.now,
            action=action,
            actor=actor,
            user_id=user_id,
            address=client.address[:64] if client else None,
            details=details,
        )
    )


class AuditLog(Repository[AuditEntry]):
    """The audit log, newest entries first."""

    model, order = AuditEntry, newest_first(AuditEntry.audit_id)

    async def search(self, window: Window, *, user_id: UserId | None, action: str | None) -> Slice[AuditEntry]:
        """Return a page of entries, optionally those of one user or one action."""
        return await self.page(
            window,
            None if user_id is None else AuditEntry.user_id == user_id,
            None if action is None else AuditEntry.action == action,
        )


@dataclass(frozen=True, slots=True)
class ExpiredRows:
    """Rows of one table that may be deleted: the key column and the condition that selects them."""

    key: Any
    condition: ColumnElement[bool]

    async def delete_batch(self, work: UnitOfWork) -> bool:
        """Delete up to 1,000 of the rows. Return whether there may be more."""
        keys = await work.all(select(self.key).where(self.condition).limit(_BATCH))
        if keys:
            statement = delete(self.key.class_).where(self.key.in_(keys))
            await work.execute(statement.execution_options(synchronize_session=False))
        return len(keys) == _BATCH


class Sessions(Repository[Session]):
    """A user's open sessions, newest first."""

    model, not_found, order = Session, SessionNotFound, newest_first(Session.session_id)

    async def page_open(self, user_id: UserId, window: Window) -> Slice[Session]:
        """Return a page of the user's open sessions."""
        return await self.page(window, *self._open_of(user_id))

    async def lock(self, user_id: UserId, session_id: SessionId) -> Session:
        """Return the user's open session, locked. Raises SessionNotFound, also for another user's session."""
        statement = select(Session).where(*self._open_of(user_id), Session.session_id == session_id)
        return self._found(session_id, await self.work.one(statement.with_for_update()))

    async def lock_all(self, user_id: UserId) -> Sequence[Session]:
        """Return all of the user's open sessions, locked, the most recently used first."""
        statement = select(Session).where(*self._open_of(user_id))
        ordered = statement.order_by(Session.last_used_at.desc(), Session.session_id.desc())
        return await self.work.all(ordered.with_for_update())

    async def last_token_expiry(self, user_id: UserId) -> datetime | None:
        """Return when the last access token of any of the user's sessions expires."""
        latest = select(func.max(Session.tokens_expire_at)).where(Session.user_id == user_id)
        found: datetime | None = (await self.source.execute(latest)).scalar()
        return found

    def _open_of(self, user_id: UserId) -> list[ColumnElement[bool]]:
        return [Session.user_id == user_id, Session.ended_at.is_(None), Session.expires_at > self.source.now]


async def erase_devices(work: UnitOfWork, user_id: UserId) -> None:
    """Erase device names and addresses from the user's sessions."""
    await work.flush()
    await work.execute(update(Session).where(Session.user_id == user_id).values(device="", address=""))


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """The session and the user that a refresh token belongs to."""

    session_id: SessionId
    user_id: UserId


async def find_refresh_token_owner(source: Reader, digest: str) -> TokenOwner | None:
    """Return the owner of the refresh token with this digest, without locking it."""
    statement = (
        select(Session.session_id, Session.user_id)
        .join(RefreshToken, RefreshToken.session_id == Session.session_id)
        .where(RefreshToken.digest == digest)
    )
    row = (await source.execute(statement)).first()
    return None if row is None else TokenOwner(row.session_id, row.user_id)


async def is_reused(source: Reader, token: RefreshToken, *, used_before: datetime) -> bool:
    """Return whether `token` is used for a second time, or on a second branch of its family.

    Then two parties hold tokens of the family (RFC 9700 section 4.14.2). Uses are not compared with each other, because
    clients that refresh by the same schedule use both branches at the same time. A token that was used is accepted until
    `used_before`, and so is a second token of its generation if both were issued after that.
    """
    is_outdated = RefreshToken.used_at < used_before
    is_second_branch = and_(
        RefreshToken.generation == token.generation,
        RefreshToken.digest != token.digest,
        RefreshToken.used_at.is_not(None),
    )
    if token.issued_at >= used_before:
        is_second_branch = and_(is_second_branch, RefreshToken.issued_at < used_before)
    statement = select(RefreshToken.digest).where(
        RefreshToken.session_id == token.session_id,
        RefreshToken.generation >= token.generation,
        or_(is_outdated, is_second_branch),
    )
    return (await source.execute(statement.limit(1))).first() is not None


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Entries of the revocation feed up to `position`."""

    entries: Sequence[Any]
    position: int
    more: bool
    has_unpositioned: bool


class RevocationFeed:
    """Revocations in the order in which verifiers read them."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def after(self, position: int, *, limit: int = MAX_FEED_ENTRIES) -> FeedPage:
        """Return up to `limit` entries after `position`, without those that have expired.

        The page also says whether a committed entry has no position yet.
        """
        rows = await self.source.rows(_AFTER, {"position": position, "limit": limit + 1})
        positioned = [row for row in rows if row.position is not None]
        page = positioned[:limit]
        reached = page[-1].position if page else position
        oldest = self.source.now - REVOCATION_LEEWAY
        return FeedPage(
            [row for row in page if row.expires_at > oldest],
            reached or position,
            more=len(positioned) > limit,
            has_unpositioned=len(positioned) < len(rows),
        )


async def assign_feed_positions(work: UnitOfWork) -> None:
    """Assign positions to committed entries, under a lock, so that positions become visible in order."""
    feed = await lock_singleton(work, REVOCATION_FEED)
    statement = select(Revocation.number).where(Revocation.position.is_(None)).order_by(Revocation.number)
    numbers = await work.all(statement.limit(MAX_FEED_ENTRIES))
    if numbers:
        positions = [{"number": number, "position": feed.number + place} for place, number in enumerate(numbers, 1)]
        await work.execute(update(Revocation), positions)
        feed.number += len(numbers)


def finished_sessions(now: datetime) -> Select[SessionId]:
    """Select the sessions that ended or expired, all of whose access tokens have expired."""
    oldest = now - _RETENTION
    ended = (Session.ended_at < oldest) | (Session.expires_at < oldest)
    return select(Session.session_id).where(ended, Session.tokens_expire_at < oldest)


def expired_session_rows(now: datetime) -> list[ExpiredRows]:
    """Return what may be deleted, in this order: refresh tokens before the sessions that they refer to."""
    finished = finished_sessions(now)
    has_tokens = select(RefreshToken.digest).where(RefreshToken.session_id == Session.session_id).exists()
    return [
        ExpiredRows(Revocation.number, Revocation.expires_at < now - REVOCATION_LEEWAY - _RETENTION),
        ExpiredRows(RefreshToken.digest, RefreshToken.expires_at < now - _RETENTION),
        ExpiredRows(RefreshToken.digest, RefreshToken.session_id.in_(finished)),
        ExpiredRows(Session.session_id, Session.session_id.in_(finished) & ~has_tokens),
    ]
