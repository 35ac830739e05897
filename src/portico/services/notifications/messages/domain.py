"""How a mail fares: its states, what an attempt may come to, and when the next one is due."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from portico.services.notifications.settings import NotificationsSettings

Status = Literal["waiting", "queued", "sending", "sent", "failed"]
"""`waiting` for the address of whom it is for; `sending` while a process hands it over."""

Outcome = Literal["under_way", "delivered", "deferred", "refused", "uncertain", "unsendable"]
"""Of an attempt. `uncertain`: it may have been taken; tried again, by the same Message-ID."""

Reason = Literal["recipient_unknown", "recipient_deleted", "refused", "unsendable", "out_of_attempts"]
"""Why a notification failed."""

_SOONEST_LOOK = timedelta(seconds=1)
_LATEST_LOOK = timedelta(minutes=1)
_STEEPNESS = 4


@dataclass(frozen=True, slots=True)
class Result:
    """What an attempt came to, and what was said of it, in one line."""

    outcome: Outcome
    answer: str


@dataclass(frozen=True, slots=True)
class SendingRules:
    """How long is tried.

    Args:
        attempts: of one mail before it is given up.
        first_delay: before the second attempt; four times as long before each further one.
        longest_delay: between two attempts.
        patience: with a recipient whose address is not known.
        lease: for which an attempt belongs to the process that began it.
    """

    attempts: int
    first_delay: timedelta
    longest_delay: timedelta
    patience: timedelta
    lease: timedelta

    @classmethod
    def of(cls, settings: NotificationsSettings, *, lease: float) -> "SendingRules":
        """The rules that `settings` say; `lease` is in seconds."""
        return cls(
            attempts=settings.mail_attempts,
            first_delay=timedelta(seconds=settings.mail_retry_delay),
            longest_delay=timedelta(seconds=settings.mail_retry_limit),
            patience=timedelta(seconds=settings.recipient_patience),
            lease=timedelta(seconds=lease),
        )

    def delay_after(self, tries: int) -> timedelta:
        """How long after the `tries`th attempt the next is due."""
        steps = min(tries - 1, 12)  # by then any limit is passed; beyond, the number would be too large
        return min(self.first_delay * int(_STEEPNESS**steps), self.longest_delay)


def next_look(waited: timedelta) -> timedelta:
    """How long until it is looked again whether an address is known, after having `waited`.

    The event that brings the address releases what waits. This is for a mail that was queued at that very moment.
    """
    return min(max(waited, _SOONEST_LOOK), _LATEST_LOOK)
