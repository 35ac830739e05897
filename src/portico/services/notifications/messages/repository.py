from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Select, bindparam, exists, select, update

from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId
from portico.kit.auth.principal import UserId
from portico.kit.data import Keyset, Repository, Slice, UnitOfWork, Window
from portico.kit.data.statements import Prepared
from portico.services.notifications.mail.base import LONGEST_ANSWER
from portico.services.notifications.messages.domain import Result, Status
from portico.services.notifications.messages.errors import NotificationNotFound
from portico.services.notifications.messages.models import Attempt, Notification

NEWEST = Keyset.by("newest", Notification.notification_id, descending=True)

_NOTIFICATIONS: Any = Notification.__table__
_N, _EARLIER = _NOTIFICATIONS.c, _NOTIFICATIONS.alias("earlier").c
_DUE = Prepared(
    select(_N.notification_id, _N.user_id)
    .where(
        _N.due_at <= bindparam("now"),
        ~exists().where(
            _EARLIER.order_id == _N.order_id,
            _EARLIER.notification_id < _N.notification_id,
            _EARLIER.due_at.is_not(None),
        ),
    )
    .order_by(_N.due_at)
    .limit(bindparam("most", type_=Integer))
)
_TAKEN = (
    select(Notification)
    .where(Notification.notification_id.in_(bindparam("ids", expanding=True)), Notification.due_at <= bindparam("now"))
    .with_for_update(skip_locked=True)
)
"""Built once: that costs more than to run it."""

_SENT = Prepared(
    update(_NOTIFICATIONS)
    .where(_N.notification_id == bindparam("of_notification"), _N.status != "sent")
    .values(status="sent", failure_reason=None, due_at=None, sent_at=bindparam("now"), revision=_N.revision + 1)
)

_ATTEMPTS: Any = Attempt.__table__
_END = Prepared(
    update(_ATTEMPTS).where(
        _ATTEMPTS.c.notification_id == bindparam("of_notification"), _ATTEMPTS.c.number == bindparam("of_number")
    )
)


class Notifications(Repository[Notification]):
    table = Notification
    missing = NotificationNotFound

    async def page(
        self, window: Window, *, of_user: UserId | None, status: Status | None, order_id: OrderId | None
    ) -> Slice[Notification]:
        """Notifications, newest first: of one user, in one state, about one order, as far as these are given."""
        statement: Select[Any] = select(Notification)
        for column, wanted in (
            (Notification.user_id, of_user),
            (Notification.status, status),
            (Notification.order_id, order_id),
        ):
            if wanted is not None:
                statement = statement.where(column == wanted)
        return await NEWEST.page(self.source, statement, window)

    async def visible(self, notification_id: NotificationId, *, of_user: UserId | None) -> Notification:
        """The notification; another's than `of_user`'s, where that is given, there is not. Raises NotificationNotFound."""
        found = await self.get(notification_id)
        if of_user is not None and found.user_id != of_user:
            raise NotificationNotFound(notification_id=notification_id)
        return found

    async def due(self, now: datetime, limit: int) -> Sequence[tuple[NotificationId, UserId]]:
        """Those about which something is to be done, longest due first, and whom they are for.

        What an earlier event of the same order has to say comes first, and the rest waits until it is sent or has failed:
        nobody is told that an order is confirmed after having been told that it is cancelled.
        """
        found = await _DUE.rows(self.source, {"now": now, "most": limit})
        return [(row.notification_id, row.user_id) for row in found]

    async def take_due(self, ids: Sequence[NotificationId], now: datetime) -> Sequence[Notification]:
        """Those of `ids` that are still due, locked; what another process holds is passed over."""
        return (await self.source.execute(_TAKEN, {"ids": list(ids), "now": now})).scalars().all()

    async def attempts(self, notification_id: NotificationId) -> Sequence[Attempt]:
        """The evidence, oldest first."""
        statement = select(Attempt).where(Attempt.notification_id == notification_id)
        return await self.source.all(statement.order_by(Attempt.number))


async def end_attempt(work: UnitOfWork, notification_id: NotificationId, number: int, result: Result) -> None:
    """Write what an attempt came to."""
    ended = {"outcome": result.outcome, "answer": result.answer[:LONGEST_ANSWER], "ended_at": work.now}
    await _END.write(work, {"of_notification": notification_id, "of_number": number, **ended})


async def mark_sent(work: UnitOfWork, notification_id: NotificationId) -> None:
    """Write that a mail arrived: one statement in place of a lock, a read and a change, as nearly every mail comes to this."""
    await _SENT.write(work, {"of_notification": notification_id, "now": work.now})
