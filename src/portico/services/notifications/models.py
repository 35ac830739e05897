"""Tables of notifications, and the rules on their rows."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from portico.contracts.bookings import BookingId
from portico.contracts.events import ShowEvent, ShowId
from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId
from portico.kit import EventId, TableRules, UserId, identifier, revision
from portico.kit.data import ExactText, IdentifierNumber, LongText, Payload
from portico.services.notifications.domain import Reason, Result, SendingRules, Status, next_recheck
from portico.services.notifications.errors import NotificationNotFailed
from portico.services.notifications.mail import MailId
from portico.services.notifications.mail.base import MAX_RESPONSE_LENGTH, in_one_line

MAX_EMAIL_LENGTH = 320
MAX_NAME_LENGTH = 600
MAX_TEMPLATE_LENGTH = 60
MAX_ZONE_LENGTH = 100


class Table(TableRules, DeclarativeBase):
    """Base of the tables of notifications."""


class Recipient(Table):
    """The address of a user.

    The row of a deleted user stays without an address, so that a late event does not restore it.
    """

    __tablename__ = "recipients"

    user_id: Mapped[UserId] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(String(MAX_EMAIL_LENGTH))
    name: Mapped[str | None] = mapped_column(String(MAX_NAME_LENGTH))
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    def update(self, *, email: str, name: str, now: datetime) -> None:
        """Store a new address, unless the user is deleted."""
        if self.deleted_at is None:
            self.email = email[:MAX_EMAIL_LENGTH] or None
            self.name = in_one_line(name)[:MAX_NAME_LENGTH]
            self.updated_at = now

    def forget(self, *, now: datetime) -> None:
        """Delete the address of a deleted user."""
        self.email = self.name = None
        self.deleted_at = self.updated_at = now


class Notification(Table):
    """A mail to a user, or to an address that may belong to no user, from queueing to its end.

    `due_at` is when something has to be done next: check for the address, make an attempt, or repeat an attempt that
    never ended. It is None once the notification is sent or failed. `trace` is the trace of the event that caused it;
    its attempts belong to the same trace.

    user_id: who gets it at the address of the account; None if it goes to `address`.
    address: where it goes if not to a user; None too after the account with this address was deleted.
    cause: the event that caused it. An event causes each mail once.
    """

    __tablename__ = "notifications"

    notification_id: Mapped[NotificationId] = identifier()
    user_id: Mapped[UserId | None]
    address: Mapped[str | None] = mapped_column(String(MAX_EMAIL_LENGTH))
    channel: Mapped[str] = mapped_column(ExactText(20))
    template: Mapped[str] = mapped_column(ExactText(MAX_TEMPLATE_LENGTH))
    template_version: Mapped[int] = mapped_column(Integer)
    order_id: Mapped[OrderId | None]
    booking_id: Mapped[BookingId | None]
    cause: Mapped[EventId | None]
    data: Mapped[dict[str, Any]] = mapped_column(Payload)
    mail_id: Mapped[MailId]
    status: Mapped[Status] = mapped_column(ExactText(12))
    failure_reason: Mapped[Reason | None] = mapped_column(ExactText(40))
    attempt_count: Mapped[int] = mapped_column(Integer)
    tries: Mapped[int] = mapped_column(Integer)
    due_at: Mapped[datetime | None]
    waits_since: Mapped[datetime]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    trace: Mapped[str | None] = mapped_column(String(64))
    revision: Mapped[int] = revision()
    attempts: Mapped[list["Attempt"]] = relationship(order_by="Attempt.number", lazy="raise", viewonly=True)

    __table_args__ = (
        UniqueConstraint("order_id", "template"),
        UniqueConstraint("cause", "template"),
        Index(None, "booking_id", "notification_id"),
        Index(None, "due_at"),
        Index(None, "created_at"),
        Index(None, "user_id", "notification_id"),
        Index(None, "status", "notification_id"),
    )

    def wait(self, rules: SendingRules, *, now: datetime) -> None:
        """Wait for the address, or fail if it has waited long enough."""
        if now - self.waits_since >= rules.recipient_timeout:
            self.fail("recipient_unknown")
        else:
            self.status, self.due_at = "waiting", now + next_recheck(now - self.waits_since)

    def begin(self, email: str, rules: SendingRules, *, now: datetime) -> "Attempt | None":
        """Begin an attempt to send to `email`. Return None and fail if no attempts are left."""
        if self.tries >= rules.attempts:
            self.fail("out_of_attempts")
            return None
        self.tries += 1
        self.attempt_count += 1
        self.status, self.due_at = "sending", now + rules.lease
        return Attempt(
            notification_id=self.notification_id,
            number=self.attempt_count,
            recipient=email,
            started_at=now,
            outcome="under_way",
        )

    def end(self, result: Result, rules: SendingRules, *, jitter: float, now: datetime) -> None:
        """Record a failed attempt: schedule the next one after `jitter` (0 to 1) of the delay, or fail."""
        if result.outcome == "refused":
            self.fail("refused")
        elif result.outcome == "unsendable":
            self.fail("unsendable")
        elif self.tries >= rules.attempts:
            self.fail("out_of_attempts")
        else:
            self.status, self.due_at = "queued", now + rules.delay_after(self.tries) * jitter

    def fail(self, reason: Reason) -> None:
        self.status, self.failure_reason, self.due_at = "failed", reason, None

    def retry(self, *, now: datetime) -> None:
        """Queue a failed notification again, with all its attempts. Raises NotificationNotFailed."""
        if self.status != "failed":
            raise NotificationNotFailed(notification_id=self.notification_id, state=self.status)
        self.status, self.failure_reason = "queued", None
        self.tries = 0
        self.due_at = self.waits_since = now


class Show(Table):
    """What mails say about a show, from its newest event. `show_revision` is the show's revision in that event."""

    __tablename__ = "shows"

    event_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId), primary_key=True, autoincrement=False)
    show_revision: Mapped[int] = mapped_column(Integer)
    event_name: Mapped[str] = mapped_column(LongText)
    event_date: Mapped[datetime]
    time_zone: Mapped[str] = mapped_column(String(MAX_ZONE_LENGTH))
    venue_name: Mapped[str] = mapped_column(LongText)

    @classmethod
    def of(cls, event: ShowEvent) -> "Show":
        """Return the show of its first event."""
        show = cls(event_id=event.event_id, show_revision=0)
        show.apply(event)
        return show

    def apply(self, event: ShowEvent) -> None:
        """Take over the state in an event, unless a newer one is known."""
        if event.revision > self.show_revision:
            self.show_revision = event.revision
            self.event_name, self.venue_name = event.event_name, event.venue_name
            self.event_date, self.time_zone = event.event_date, event.time_zone[:MAX_ZONE_LENGTH]


class Attempt(Table):
    """One attempt: when, to which address, and what the server answered."""

    __tablename__ = "attempts"

    notification_id: Mapped[NotificationId] = mapped_column(
        ForeignKey("notifications.notification_id"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    recipient: Mapped[str | None] = mapped_column(String(MAX_EMAIL_LENGTH))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(ExactText(12))
    answer: Mapped[str | None] = mapped_column(String(MAX_RESPONSE_LENGTH))
