from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId
from portico.kit.auth.principal import UserId
from portico.kit.data import UnitOfWork
from portico.kit.data.upsert import insert_if_absent
from portico.kit.telemetry.context import current_trace
from portico.kit.telemetry.trace_context import TraceContext
from portico.services.notifications.mail import MailId
from portico.services.notifications.messages.domain import Result, SendingRules
from portico.services.notifications.messages.models import Attempt, Notification
from portico.services.notifications.messages.repository import Notifications, end_attempt, mark_sent
from portico.services.notifications.recipients.repository import Recipients
from portico.services.notifications.templates.domain import Template

_LOST = Result("uncertain", "the process that sent it did not come back")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A mail that this process is to hand over now, as the `number`th attempt."""

    notification_id: NotificationId
    number: int
    mail_id: MailId
    email: str
    name: str
    template: str
    template_version: int
    data: dict[str, Any]
    written_at: datetime
    trace: TraceContext | None


async def queue_mail(
    work: UnitOfWork, template: Template, user_id: UserId, *, order_id: OrderId, data: dict[str, Any]
) -> bool:
    """Queue a mail to the user about an order, unless it was told of that before; whether it is new."""
    known = await Recipients(work).is_known(user_id)
    row = {
        "notification_id": NotificationId.new(),
        "user_id": user_id,
        "channel": "email",
        "template": template.name,
        "template_version": template.version,
        "order_id": order_id,
        "data": data,
        "mail_id": MailId.new(),
        "status": "queued" if known else "waiting",
        "attempt_count": 0,
        "tries": 0,
        "due_at": work.now,
        "waits_since": work.now,
        "created_at": work.now,
        "trace": current_trace(),
        "revision": 1,
    }
    return await insert_if_absent(work, Notification.__table__, row)  # type: ignore[arg-type]  # the mapper types it wider


async def release(work: UnitOfWork, user_id: UserId) -> bool:
    """Have what waits for the user's address sent now; whether anything did."""
    released = await work.execute(
        update(Notification)
        .where(Notification.user_id == user_id, Notification.status == "waiting")
        .values(status="queued", due_at=work.now, revision=Notification.revision + 1)
        .execution_options(synchronize_session=False)
    )
    return bool(released.rowcount)  # type: ignore[attr-defined]


async def forget_recipient(work: UnitOfWork, user_id: UserId) -> None:
    """Forget to which addresses the user's notifications went; what servers answered often repeats them."""
    theirs = select(Notification.notification_id).where(Notification.user_id == user_id)
    await work.execute(
        update(Attempt)
        .where(Attempt.notification_id.in_(theirs))
        .values(recipient=None, answer=None)
        .execution_options(synchronize_session=False)
    )


async def retry(work: UnitOfWork, notification_id: NotificationId) -> Notification:
    """Have a failed notification tried again. Raises NotificationNotFound, NotFailed."""
    notification = await Notifications(work).get(notification_id, lock=True)
    notification.retry(now=work.now)
    return notification


async def claim(
    work: UnitOfWork, due: Sequence[tuple[NotificationId, UserId]], rules: SendingRules
) -> tuple[int, Sequence[Claimed]]:
    """How many of `due` something was done about, and those that this process is to hand over.

    Of the others some wait, some have failed, some are another's.

    Recipients are locked before notifications, as by who forgets a recipient: no attempt names an address after that.
    """
    recipients = await Recipients(work).held(user_id for _, user_id in due)
    taken = await Notifications(work).take_due([notification_id for notification_id, _ in due], work.now)
    claimed = []
    for each in taken:
        if each.status == "sending":
            await end_attempt(work, each.notification_id, each.attempt_count, _LOST)
        recipient = recipients.get(each.user_id)
        if recipient is not None and recipient.deleted_at is not None:
            each.fail("recipient_deleted")
        elif recipient is None or recipient.email is None:
            each.wait(rules, now=work.now)
        elif (attempt := each.begin(recipient.email, rules, now=work.now)) is not None:
            work.add(attempt)
            claimed.append(_claimed(each, attempt, recipient.email, recipient.name or ""))
    return len(taken), claimed


async def record(work: UnitOfWork, claimed: Claimed, result: Result, rules: SendingRules, *, jitter: float) -> None:
    """Record what an attempt came to."""
    if result.outcome == "delivered":
        # Another process may have taken it over meanwhile; that the mail arrived is news all the same.
        await mark_sent(work, claimed.notification_id)
        await end_attempt(work, claimed.notification_id, claimed.number, result)
        return
    notification = await Notifications(work).get(claimed.notification_id, lock=True)
    await end_attempt(work, claimed.notification_id, claimed.number, result)
    if notification.status == "sending" and notification.attempt_count == claimed.number:
        notification.end(result, rules, jitter=jitter, now=work.now)


def _claimed(notification: Notification, attempt: Attempt, email: str, name: str) -> Claimed:
    return Claimed(
        notification_id=notification.notification_id,
        number=attempt.number,
        mail_id=notification.mail_id,
        email=email,
        name=name,
        template=notification.template,
        template_version=notification.template_version,
        data=notification.data,
        written_at=notification.created_at,
        trace=TraceContext.parse(notification.trace),
    )
