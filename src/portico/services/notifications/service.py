"""Use cases of recipients and notifications."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portico.contracts.bookings import BookingId, BookingRescheduled, RescheduledShow, TicketRescheduled
from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId
from portico.contracts.payments import BookingPaymentRefunded
from portico.kit import EventId, Money, UnitOfWork, UserId
from portico.kit.telemetry import TraceContext, current_trace
from portico.services.notifications.domain import TICKETING_MAILS, Result, SendingRules, ShowMailEvent, TicketingEvent
from portico.services.notifications.mail import MailId
from portico.services.notifications.models import Attempt, Notification, Recipient, Show
from portico.services.notifications.repository import (
    Notifications,
    Recipients,
    Shows,
    end_attempt,
    end_deliveries,
    erase_address_of_mails,
    erase_addresses,
    insert_notification,
    lock_recipient,
    queue_waiting,
    save_claims,
)
from portico.services.notifications.templates import Template, Templates
from portico.services.notifications.ticketing_data import ShowData

_PROCESS_LOST = Result("uncertain", "the process that sent it ended before it stored the outcome")


@dataclass(frozen=True, slots=True)
class ClaimedMail:
    """A mail that this process has to send now. `number` is the number of the attempt."""

    notification_id: NotificationId
    number: int
    mail_id: MailId
    user_id: UserId | None
    email: str
    name: str
    template: str
    template_version: int
    data: dict[str, Any]
    written_at: datetime
    trace: TraceContext | None


async def save_recipient(work: UnitOfWork, user_id: UserId, *, email: str, name: str) -> None:
    """Store the user's address, unless the user is deleted."""
    recipient = await lock_recipient(work, user_id)
    recipient.update(email=email, name=name, now=work.now)


async def forget_recipient(work: UnitOfWork, user_id: UserId) -> None:
    """Delete the user's address permanently, also from the attempts that were made."""
    recipient = await lock_recipient(work, user_id)
    email = recipient.email
    recipient.forget(now=work.now)
    await erase_addresses(work, user_id)
    if email is not None:
        await erase_address_of_mails(work, email)


async def release_waiting(work: UnitOfWork, user_id: UserId) -> bool:
    """Queue the mails that wait for the user's address. Return whether there were any."""
    return await queue_waiting(work, user_id)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a mail is about: an order, or a booking. `cause` is the event that caused it."""

    order_id: OrderId | None = None
    booking_id: BookingId | None = None
    cause: EventId | None = None


async def queue_mail(
    work: UnitOfWork, template: Template, to: UserId | str, subject: Subject, *, data: dict[str, Any]
) -> bool:
    """Queue a mail to a user, or to an address. Return whether it is new.

    An order, and a `cause`, gets each mail once.
    """
    user_id = to if isinstance(to, UserId) else None
    return await insert_notification(
        work,
        {
            "notification_id": NotificationId.new(),
            "user_id": user_id,
            "address": None if user_id is not None else to,
            "channel": "email",
            "template": template.name,
            "template_version": template.version,
            "order_id": subject.order_id,
            "booking_id": subject.booking_id,
            "cause": subject.cause,
            "data": data,
            "mail_id": MailId.new(),
            "attempt_count": 0,
            "tries": 0,
            "due_at": work.now,
            "waits_since": work.now,
            "created_at": work.now,
            "trace": current_trace(),
            "revision": 1,
        },
    )


async def queue_ticketing_mail(
    work: UnitOfWork, templates: Templates, event: TicketingEvent, to: UserId | str, booking_id: BookingId | None = None
) -> None:
    """Queue the mail that an event of ticketing causes, with what is known of its show."""
    template = templates.newest(TICKETING_MAILS[type(event)])
    more: dict[str, Any] = {}
    if isinstance(event, BookingPaymentRefunded):
        more["amount"] = Money(event.amount_minor, event.currency).amount
    else:
        more["show"] = await _show_of(work, event)
    if isinstance(event, BookingRescheduled):
        more["full_refund_until"] = event.show.full_refund_until
    subject = Subject(booking_id=booking_id, cause=event.message_id)
    await queue_mail(work, template, to, subject, data=template.data_from(event, **more))


async def _show_of(work: UnitOfWork, event: ShowMailEvent) -> dict[str, Any] | None:
    """Return what is known of the event's show. A new date may be in the event before it is known here."""
    known = await Shows(work).find(event.event_id)
    show: Show | RescheduledShow | None = known
    if isinstance(event, BookingRescheduled | TicketRescheduled) and (
        known is None or known.show_revision < event.show.revision
    ):
        show = event.show
    return None if show is None else ShowData.model_validate(show).model_dump(mode="json")


async def retry_notification(work: UnitOfWork, notification_id: NotificationId) -> Notification:
    """Queue a failed notification again. Raises NotificationNotFound, NotificationNotFailed."""
    notification = await Notifications(work).get(notification_id, lock=True)
    notification.retry(now=work.now)
    return notification


async def claim_due(
    work: UnitOfWork, due: Sequence[tuple[NotificationId, UserId | None]], rules: SendingRules
) -> tuple[int, Sequence[ClaimedMail]]:
    """Claim the mails of `due` that this process has to send.

    Recipients are locked before notifications, as in `forget_recipient`: no attempt stores an address after it was
    deleted.

    Returns:
        How many notifications were changed (some wait, some failed), and the mails to send.
    """
    recipients = await Recipients(work).lock(user_id for _, user_id in due if user_id is not None)
    ids = [notification_id for notification_id, _ in due]
    locked = await Notifications(work).lock_due(ids, work.now, max_wait=rules.max_wait)
    claimed, attempts = [], []
    for each in locked:
        if each.status == "sending":
            await end_attempt(work, each.notification_id, each.attempt_count, _PROCESS_LOST)
        recipient = None if each.user_id is None else recipients.get(each.user_id)
        email = each.address if recipient is None else recipient.email
        if _is_deleted(each, recipient):
            each.fail("recipient_deleted")
        elif email is None:
            each.wait(rules, now=work.now)
        elif (attempt := each.begin(email, rules, now=work.now)) is not None:
            attempts.append(attempt)
            claimed.append(_claimed(each, attempt, email, (recipient and recipient.name) or ""))
    await save_claims(work, locked, attempts)
    return len(locked), claimed


def _is_deleted(notification: Notification, recipient: Recipient | None) -> bool:
    """Return whether the account of the recipient was deleted."""
    if notification.user_id is None:
        return notification.address is None
    return recipient is not None and recipient.deleted_at is not None


async def record_deliveries(work: UnitOfWork, deliveries: Sequence[tuple[ClaimedMail, Result]]) -> None:
    """Store that mails were delivered. Another process may have claimed them since: they were delivered all the same."""
    ended = [(claimed.notification_id, claimed.number, result) for claimed, result in deliveries]
    await end_deliveries(work, ended)


async def record_failure(
    work: UnitOfWork, claimed: ClaimedMail, result: Result, rules: SendingRules, *, jitter: float
) -> None:
    """Store the outcome of an attempt that failed, and schedule the next one."""
    notification = await Notifications(work).get(claimed.notification_id, lock=True)
    await end_attempt(work, claimed.notification_id, claimed.number, result)
    if notification.status == "sending" and notification.attempt_count == claimed.number:
        notification.end(result, rules, jitter=jitter, now=work.now)


def _claimed(notification: Notification, attempt: Attempt, email: str, name: str) -> ClaimedMail:
    return ClaimedMail(
        notification_id=notification.notification_id,
        number=attempt.number,
        mail_id=notification.mail_id,
        user_id=notification.user_id,
        email=email,
        name=name,
        template=notification.template,
        template_version=notification.template_version,
        data=notification.data,
        written_at=notification.created_at,
        trace=TraceContext.parse(notification.trace),
    )
