"""SQL of recipients, notifications and attempts. Recipients are locked before notifications."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm.attributes import set_committed_value

from portico.contracts.events import ShowEvent, ShowId
from portico.contracts.notifications import NotificationId
from portico.kit import Principal, Reader, Repository, UnitOfWork, UserId
from portico.kit.data import Statement, insert_if_absent, insert_or_ignore, is_due, newest_first, write_together
from portico.kit.foundation import latest_due
from portico.services.notifications.domain import Result
from portico.services.notifications.errors import NotificationNotFound
from portico.services.notifications.mail.base import MAX_RESPONSE_LENGTH
from portico.services.notifications.models import Attempt, Notification, Recipient, Show

READ = "notifications:read"

_RECIPIENTS: Any = Recipient.__table__
_NOTIFICATIONS: Any = Notification.__table__
_ATTEMPTS: Any = Attempt.__table__
_SHOWS: Any = Show.__table__
_R, _N, _A, _EARLIER = _RECIPIENTS.c, _NOTIFICATIONS.c, _ATTEMPTS.c, _NOTIFICATIONS.alias("earlier").c

# Statements of the hot path. Each is built once, because building one costs more than running it.
# A mail is queued, or waits until the address of its user is known. A deleted user is known.
_IS_KNOWN = exists().where(_R.user_id == bindparam("new_user_id"), _R.email.is_not(None) | _R.deleted_at.is_not(None))
_STATUS = case((bindparam("new_user_id", type_=_N.user_id.type).is_(None) | _IS_KNOWN, "queued"), else_="waiting")
_LOCK_RECIPIENTS = (
    select(Recipient)
    .where(Recipient.user_id.in_(bindparam("user_ids", expanding=True)))
    .order_by(Recipient.user_id)
    .with_for_update(read=True)
)
_DUE = Statement(
    select(_N.notification_id, _N.user_id)
    .where(
        is_due(_N.due_at),
        ~exists().where(
            _EARLIER.order_id == _N.order_id,
            _EARLIER.notification_id < _N.notification_id,
            _EARLIER.due_at.is_not(None),
        ),
        ~exists().where(
            _EARLIER.booking_id == _N.booking_id,
            _EARLIER.notification_id < _N.notification_id,
            _EARLIER.due_at.is_not(None),
        ),
    )
    .order_by(_N.due_at)
    .limit(bindparam("max_rows", type_=Integer))
)
_LOCK_DUE = (
    select(Notification)
    .where(Notification.notification_id.in_(bindparam("ids", expanding=True)), is_due(_N.due_at))
    .with_for_update(skip_locked=True)
)
_MARK_SENT = Statement(
    update(_NOTIFICATIONS)
    .where(_N.notification_id == bindparam("of_notification"), _N.status != "sent")
    .values(status="sent", failure_reason=None, due_at=None, sent_at=bindparam("now"), revision=_N.revision + 1)
)
_END_ATTEMPT = Statement(
    update(_ATTEMPTS).where(_A.notification_id == bindparam("of_notification"), _A.number == bindparam("of_number"))
)
_CLAIMED = ("status", "failure_reason", "attempt_count", "tries", "due_at")
_SAVE_CLAIM = Statement(
    update(_NOTIFICATIONS)
    .where(_N.notification_id == bindparam("of_notification"))
    .values(
        {_N[name]: bindparam(f"new_{name}", type_=_N[name].type) for name in _CLAIMED} | {_N.revision: _N.revision + 1}
    )
)
_ATTEMPT_COLUMNS = tuple(column.name for column in _ATTEMPTS.columns)
_BEGIN_ATTEMPT = Statement(insert(_ATTEMPTS))


class Recipients:
    """The addresses of users."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def lock(self, user_ids: Iterable[UserId]) -> dict[UserId, Recipient]:
        """Return the known recipients among `user_ids`, locked against change until the transaction ends."""
        found = await self.source.execute(_LOCK_RECIPIENTS, {"user_ids": list(set(user_ids))})
        return {row.user_id: row for row in found.scalars()}


async def lock_recipient(work: UnitOfWork, user_id: UserId) -> Recipient:
    """Return the user's row, locked; insert it if there is none."""
    row = {"user_id": user_id, "email": None, "name": None, "updated_at": work.now, "deleted_at": None}
    await insert_if_absent(work, _RECIPIENTS, row)
    recipient = await work.get(Recipient, user_id, lock=True)
    if recipient is None:
        raise LookupError(f"the row of {user_id} has disappeared; recipients are never deleted")
    return recipient


class Notifications(Repository[Notification]):
    """Notifications and their attempts."""

    model, not_found, order = Notification, NotificationNotFound, newest_first(Notification.notification_id)

    def visible_to(self, caller: Principal) -> ColumnElement[bool]:
        """Return the condition for the notifications that `caller` may see: all, or its own. Raises PersonRequired."""
        return true() if caller.may(READ) else Notification.user_id == caller.user_id

    async def due(
        self, now: datetime, limit: int, *, max_wait: timedelta
    ) -> Sequence[tuple[NotificationId, UserId | None]]:
        """Return the notifications that are due, longest due first, each with its recipient.

        Mails of one order or booking are sent in order: a later one is not due before the earlier ones are sent or failed.
        Otherwise "confirmed" could arrive after "cancelled".

        Args:
            now: the current time.
            limit: maximum number of notifications.
            max_wait: the longest time until a mail is due again.
        """
        values = {"now": now, "latest": latest_due(now, max_wait), "max_rows": limit}
        found = await self.source.rows(_DUE, values)
        return [(row.notification_id, row.user_id) for row in found]

    async def lock_due(
        self, ids: Sequence[NotificationId], now: datetime, *, max_wait: timedelta
    ) -> Sequence[Notification]:
        """Return those of `ids` that are still due, locked; skip rows that another process has locked.

        The session does not write their changes: `save_claims` does.
        """
        values = {"ids": list(ids), "now": now, "latest": latest_due(now, max_wait)}
        found = (await self.source.execute(_LOCK_DUE, values)).scalars().all()
        for each in found:
            self.source.session.expunge(each)
        return found

    async def load_attempts(self, notification: Notification) -> Notification:
        """Load the attempts of a notification, oldest first, and return it."""
        statement = select(Attempt).where(Attempt.notification_id == notification.notification_id)
        set_committed_value(notification, "attempts", await self.source.all(statement.order_by(Attempt.number)))
        return notification


async def insert_notification(work: UnitOfWork, values: dict[str, Any]) -> bool:
    """Insert a notification unless its order or its event already has one by that template. Return whether it is new.

    Its status is `queued`, or `waiting` if the address of its user is not known.
    """
    statement = _queue_statement(work.database.dialect, tuple(values))
    return await write_together(work, statement, {f"new_{name}": value for name, value in values.items()})


@cache
def _queue_statement(dialect: str, names: Sequence[str]) -> Statement:
    values = [bindparam(f"new_{name}", type_=_N[name].type) for name in names]
    row = select(*values, _STATUS.label("new_status"))
    return Statement(insert_or_ignore(_NOTIFICATIONS, dialect).from_select([*names, "status"], row))


async def queue_waiting(work: UnitOfWork, user_id: UserId) -> bool:
    """Queue the user's notifications that wait for an address. Return whether there were any."""
    released = await work.execute(
        update(_NOTIFICATIONS)
        .where(_N.user_id == user_id, _N.status == "waiting")
        .values(status="queued", due_at=work.now, revision=_N.revision + 1)
    )
    return bool(released.rowcount)  # type: ignore[attr-defined]


async def erase_addresses(work: UnitOfWork, user_id: UserId) -> None:
    """Delete the address from the user's attempts, and the servers' answers, which often repeat it."""
    ids = select(_N.notification_id).where(_N.user_id == user_id)
    await work.execute(update(_ATTEMPTS).where(_A.notification_id.in_(ids)).values(recipient=None, answer=None))


async def erase_address_of_mails(work: UnitOfWork, email: str) -> None:
    """Delete an address from the mails that went to it and not to a user, and from their attempts."""
    is_to_it = or_(_N.address == email, func.lower(_N.address) == email.lower())
    ids = (await work.execute(select(_N.notification_id).where(_N.user_id.is_(None), is_to_it))).scalars().all()
    if ids:
        mails, attempts = update(_NOTIFICATIONS), update(_ATTEMPTS)
        await work.execute(mails.where(_N.notification_id.in_(ids)).values(address=None, revision=_N.revision + 1))
        await work.execute(attempts.where(_A.notification_id.in_(ids)).values(recipient=None, answer=None))


class Shows:
    """What mails say about shows."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def find(self, event_id: ShowId) -> Show | None:
        """Return what is known of a show."""
        return await self.source.get(Show, event_id)


async def save_show(work: UnitOfWork, event: ShowEvent) -> None:
    """Store the state of a show after an event."""
    show = await work.get(Show, event.event_id, lock=True)
    if show is None:
        work.add(Show.of(event))
    else:
        show.apply(event)


async def delete_show(work: UnitOfWork, event_id: ShowId) -> None:
    """Delete what is known of a show."""
    await work.execute(delete(_SHOWS).where(_SHOWS.c.event_id == event_id))


async def end_attempt(work: UnitOfWork, notification_id: NotificationId, number: int, result: Result) -> None:
    """Store the outcome of an attempt."""
    values = {"of_notification": notification_id, "of_number": number, **_ended(work, result)}
    await work.write(_END_ATTEMPT, values)


async def save_claims(work: UnitOfWork, notifications: Sequence[Notification], attempts: Sequence[Attempt]) -> None:
    """Store the changes of notifications that `lock_due` returned, and the attempts that begin."""
    claims = [
        {"of_notification": each.notification_id} | {f"new_{name}": getattr(each, name) for name in _CLAIMED}
        for each in notifications
    ]
    await work.write_each(_SAVE_CLAIM, claims)
    await work.write_each(
        _BEGIN_ATTEMPT, [{name: getattr(each, name) for name in _ATTEMPT_COLUMNS} for each in attempts]
    )


async def end_deliveries(work: UnitOfWork, deliveries: Sequence[tuple[NotificationId, int, Result]]) -> None:
    """Mark notifications as sent, and end their attempts, without reading the rows: this is the usual outcome."""
    marks = [{"of_notification": notification_id, "now": work.now} for notification_id, _, _ in deliveries]
    await work.write_each(_MARK_SENT, marks)
    ended = [{"of_notification": each, "of_number": number, **_ended(work, by)} for each, number, by in deliveries]
    await work.write_each(_END_ATTEMPT, ended)


def _ended(work: UnitOfWork, result: Result) -> dict[str, Any]:
    return {"outcome": result.outcome, "answer": result.answer[:MAX_RESPONSE_LENGTH], "ended_at": work.now}


async def delete_ended(work: UnitOfWork, *, created_before: datetime, limit: int) -> int:
    """Delete up to `limit` old notifications that are sent or failed, with their attempts. Return how many.

    They are locked first, because a failed one may be retried at the same moment.
    """
    ended = select(_N.notification_id).where(_N.created_at < created_before, _N.due_at.is_(None))
    batch = ended.order_by(_N.created_at).limit(limit).with_for_update(skip_locked=True)
    ids = (await work.execute(batch)).scalars().all()
    if ids:
        await work.execute(delete(_ATTEMPTS).where(_A.notification_id.in_(ids)))
        await work.execute(delete(_NOTIFICATIONS).where(_N.notification_id.in_(ids)))
    return len(ids)
