from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId
from portico.kit.auth.principal import UserId
from portico.kit.data import ExactText, Payload, identifier, revision
from portico.services.notifications.mail import MailId
from portico.services.notifications.mail.base import LONGEST_ANSWER
from portico.services.notifications.messages.domain import Reason, Result, SendingRules, Status, next_look
from portico.services.notifications.messages.errors import NotFailed
from portico.services.notifications.models import Table
from portico.services.notifications.recipients.models import LONGEST_EMAIL

__all__ = ["Attempt", "Notification", "Table"]

LONGEST_TEMPLATE = 60


class Notification(Table):
    """Somebody is to be told of something by mail.

    `due_at` is when something is to be done about it: a look for the address, an attempt, or, where an attempt is under
    way, the next one should that one never end. None once nothing is to be done any more. `trace` is the one that its
    attempts belong to: that of the event it tells of.
    """

    __tablename__ = "notifications"

    notification_id: Mapped[NotificationId] = identifier()
    user_id: Mapped[UserId]
    channel: Mapped[str] = mapped_column(ExactText(20))
    template: Mapped[str] = mapped_column(ExactText(LONGEST_TEMPLATE))
    template_version: Mapped[int] = mapped_column(Integer)
    order_id: Mapped[OrderId]
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

    __table_args__ = (
        UniqueConstraint("order_id", "template"),
        Index(None, "due_at"),
        Index(None, "created_at"),
        Index(None, "user_id", "notification_id"),
        Index(None, "status", "notification_id"),
    )

    def wait(self, rules: SendingRules, *, now: datetime) -> None:
        """Go on waiting for the address, or give up."""
        if now - self.waits_since >= rules.patience:
            self.fail("recipient_unknown")
        else:
            self.status, self.due_at = "waiting", now + next_look(now - self.waits_since)

    def begin(self, email: str, rules: SendingRules, *, now: datetime) -> "Attempt | None":
        """An attempt to send it to `email`; None where it had all of them."""
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
        """The last attempt was in vain; `jitter` (0 to 1) is how much of the delay is waited."""
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
        """Try once more, with all attempts before it. Raises NotFailed."""
        if self.status != "failed":
            raise NotFailed(notification_id=self.notification_id, state=self.status)
        self.status, self.failure_reason = "queued", None
        self.tries = 0
        self.due_at = self.waits_since = now


class Attempt(Table):
    """The evidence of one attempt: when, to which address, and what was answered."""

    __tablename__ = "attempts"

    notification_id: Mapped[NotificationId] = mapped_column(
        ForeignKey("notifications.notification_id"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    recipient: Mapped[str | None] = mapped_column(String(LONGEST_EMAIL))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(ExactText(12))
    answer: Mapped[str | None] = mapped_column(String(LONGEST_ANSWER))
