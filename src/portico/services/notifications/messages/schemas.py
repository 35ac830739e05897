from collections.abc import Sequence
from typing import Self

from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId
from portico.kit.auth import UserId
from portico.kit.http import Moment, Schema
from portico.services.notifications.mail import MailId
from portico.services.notifications.messages.domain import Outcome, Reason, Status
from portico.services.notifications.messages.models import Attempt, Notification


class NotificationRead(Schema):
    """That somebody is told of something. `due_at` is when it is tried next, or looked after."""

    notification_id: NotificationId
    user_id: UserId
    channel: str
    template: str
    template_version: int
    order_id: OrderId
    mail_id: MailId
    status: Status
    failure_reason: Reason | None
    attempt_count: int
    due_at: Moment | None
    created_at: Moment
    sent_at: Moment | None


class AttemptRead(Schema):
    """One attempt: `answer` is what the mail server said."""

    number: int
    recipient: str | None
    started_at: Moment
    ended_at: Moment | None
    outcome: Outcome
    answer: str | None


class NotificationDetail(NotificationRead):
    """A notification with the evidence of each attempt, oldest first."""

    attempts: list[AttemptRead]

    @classmethod
    def with_attempts(cls, notification: Notification, attempts: Sequence[Attempt]) -> Self:
        shown = NotificationRead.of(notification)
        return cls(**dict(shown), attempts=[AttemptRead.of(attempt) for attempt in attempts])
