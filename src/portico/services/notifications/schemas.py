from typing import Any

from pydantic import Field

from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId
from portico.kit import Line, Moment, Schema, UserId
from portico.services.notifications.domain import Outcome, Reason, Status
from portico.services.notifications.mail import MailId


class NotificationRead(Schema):
    """A mail to a user. `due_at` is the time of its next attempt or address check."""

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
    """One attempt. `answer` is the mail server's reply."""

    number: int
    recipient: str | None
    started_at: Moment
    ended_at: Moment | None
    outcome: Outcome
    answer: str | None


class NotificationDetail(NotificationRead):
    """A notification with its attempts, oldest first."""

    attempts: list[AttemptRead]


class TemplateRead(Schema):
    """A template in its newest version."""

    name: str
    version: int


class Preview(Schema):
    """Data to render a template with; sample data if omitted."""

    version: int | None = Field(None, ge=1, le=2**31 - 1, description="The newest version if omitted")
    recipient_name: Line | None = None
    data: dict[str, Any] | None = None


class PreviewRead(Schema):
    """A rendered template."""

    name: str
    version: int
    subject: str
    text: str
    html: str


class MailRead(Schema):
    """A mail in the mailbox. `size` is in bytes."""

    mail_id: MailId
    message_id: str
    sender: str
    recipient: str
    subject: str
    size: int
    received_at: Moment


class MailDetail(MailRead):
    """A mail with its bodies."""

    text: str
    html: str | None
