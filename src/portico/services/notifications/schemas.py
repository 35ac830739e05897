from typing import Any

from pydantic import Field

from portico.contracts.bookings import BookingId
from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId
from portico.kit import Line, Moment, Schema, UserId
from portico.services.notifications.domain import Outcome, Reason, Status
from portico.services.notifications.mail import MailId


def _is_none(value: object) -> bool:
    return value is None


class NotificationRead(Schema):
    """A mail to a user. `due_at` is the time of its next attempt or address check.

    `user_id` is null if it goes to an address that may belong to no user.
    """

    notification_id: NotificationId
    user_id: UserId | None
    channel: str = Field(examples=["email"])
    template: str = Field(examples=["order_confirmed"])
    template_version: int
    order_id: OrderId | None
    booking_id: BookingId | None = Field(exclude_if=_is_none)
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

    name: str = Field(examples=["order_confirmed"])
    version: int


class Preview(Schema):
    """Data to render a template with; sample data if omitted."""

    version: int | None = Field(None, ge=1, le=2**31 - 1, description="The newest version if omitted")
    recipient_name: Line | None = Field(None, examples=["Ada"])
    data: dict[str, Any] | None = None


class PreviewRead(Schema):
    """A rendered template."""

    name: str = Field(examples=["order_confirmed"])
    version: int
    subject: str = Field(examples=["Your order is confirmed"])
    text: str = Field(examples=["Dear Ada, …"])
    html: str = Field(examples=["<p>Dear Ada, …</p>"])


class MailRead(Schema):
    """A mail in the mailbox. `size` is in bytes."""

    mail_id: MailId
    message_id: str = Field(examples=["<1@shop.example>"])
    sender: str = Field(examples=["shop@example.com"])
    recipient: str = Field(examples=["ada@example.com"])
    subject: str = Field(examples=["Your order is confirmed"])
    size: int = Field(examples=[2048])
    received_at: Moment


class MailDetail(MailRead):
    """A mail with its bodies."""

    text: str = Field(examples=["Dear Ada, …"])
    html: str | None
