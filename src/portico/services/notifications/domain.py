"""Which event causes which mail, the states of a notification, and when its next attempt is due."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from portico.contracts.bookings import (
    BookingCancelled,
    BookingConfirmed,
    BookingRescheduled,
    TicketCancelled,
    TicketRescheduled,
    TransferOffered,
)
from portico.contracts.identity import EmailVerificationRequested, PasswordResetRequested
from portico.contracts.orders import OrderCancelled, OrderStatus, OrderUpdated
from portico.contracts.payments import BookingPaymentRefunded
from portico.contracts.seating import WaitlistOffered
from portico.kit import Event
from portico.kit.foundation import Backoff
from portico.services.notifications.settings import NotificationsSettings

OrderEvent = OrderUpdated | OrderCancelled
BookingMailEvent = BookingConfirmed | BookingCancelled | BookingRescheduled | BookingPaymentRefunded
HolderMailEvent = TicketRescheduled | TicketCancelled
ShowMailEvent = (
    BookingConfirmed | BookingCancelled | BookingRescheduled | HolderMailEvent | WaitlistOffered | TransferOffered
)
TicketingEvent = ShowMailEvent | BookingPaymentRefunded

Status = Literal["waiting", "queued", "sending", "sent", "failed"]
"""`waiting`: the recipient's address is not known yet. `sending`: a process is handing the mail over."""

Outcome = Literal["under_way", "delivered", "deferred", "refused", "uncertain", "unsendable"]
"""Outcome of an attempt. `uncertain`: the server may have accepted the mail; it is sent again with the same Message-ID."""

Reason = Literal["recipient_unknown", "recipient_deleted", "refused", "unsendable", "out_of_attempts"]
"""Why a notification failed."""

_MIN_RECHECK = timedelta(seconds=1)
_MAX_RECHECK = timedelta(minutes=1)
_BACKOFF_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """A mail for an event: the buyer gets a mail by `template` for each `event`, or only for those with `status`."""

    event: type[OrderEvent]
    template: str
    status: OrderStatus | None = None


RULES = (
    Rule(OrderUpdated, "order-confirmed", status="confirmed"),
    Rule(OrderUpdated, "order-shipped", status="shipped"),
    Rule(OrderCancelled, "order-cancelled"),
)


ACCOUNT_MAILS: Mapping[type[Event], str] = {
    PasswordResetRequested: "password-reset",
    EmailVerificationRequested: "email-verification",
}
"""The template of the mail that brings a user the token of an event."""

TICKETING_MAILS: Mapping[type[TicketingEvent], str] = {
    BookingConfirmed: "tickets",
    BookingCancelled: "booking-cancelled",
    BookingRescheduled: "booking-rescheduled",
    TicketRescheduled: "ticket-rescheduled",
    TicketCancelled: "ticket-cancelled",
    BookingPaymentRefunded: "booking-refunded",
    WaitlistOffered: "waitlist-offer",
    TransferOffered: "ticket-transfer",
}
"""The template of the mail that each event of ticketing causes."""


def template_for(event: OrderEvent) -> str | None:
    """Return the name of the template for `event`, or None if no mail is sent for it."""
    for rule in RULES:
        if rule.event is type(event) and rule.status in {None, event.status}:
            return rule.template
    return None


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an attempt, and the server's answer in one line."""

    outcome: Outcome
    answer: str


@dataclass(frozen=True, slots=True)
class SendingRules:
    """How often and how long a mail is tried.

    Args:
        attempts: attempts for one mail before it fails.
        first_delay: pause before the second attempt; each further pause is four times as long.
        max_delay: the longest pause between two attempts.
        recipient_timeout: how long a mail waits for an unknown address.
        lease: how long an attempt belongs to the process that began it.
    """

    attempts: int
    first_delay: timedelta
    max_delay: timedelta
    recipient_timeout: timedelta
    lease: timedelta

    @classmethod
    def of(cls, settings: NotificationsSettings, *, lease: float) -> "SendingRules":
        """Return the rules from the settings; `lease` is in seconds."""
        return cls(
            attempts=settings.mail_attempts,
            first_delay=timedelta(seconds=settings.mail_retry_delay),
            max_delay=timedelta(seconds=settings.mail_retry_limit),
            recipient_timeout=timedelta(seconds=settings.recipient_timeout),
            lease=timedelta(seconds=lease),
        )

    @property
    def max_wait(self) -> timedelta:
        """Return the longest time until a mail is due again."""
        return max(self.max_delay, self.lease, _MAX_RECHECK)

    def delay_after(self, tries: int) -> timedelta:
        """Return the pause between attempt number `tries` and the next one."""
        base, limit = self.first_delay.total_seconds(), self.max_delay.total_seconds()
        return timedelta(seconds=Backoff(base=base, limit=limit, jitter=0.0, factor=_BACKOFF_FACTOR).delay(tries))


def next_recheck(waited: timedelta) -> timedelta:
    """Return how long until a mail that has `waited` for an address checks again whether it is known.

    The event that brings the address releases waiting mails at once. The check covers a mail that was queued at the
    same moment as that event.
    """
    return min(max(waited, _MIN_RECHECK), _MAX_RECHECK)
