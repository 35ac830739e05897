"""The booking's state machine."""

from collections.abc import Mapping
from typing import Final

from portico.contracts.bookings import BookingStatus

LEGAL: Final[Mapping[BookingStatus, tuple[BookingStatus, ...]]] = {
    "PENDING": ("CONFIRMED", "FAILED", "EXPIRED", "CANCELLED"),
    "CONFIRMED": ("CANCELLED",),
    "CANCELLED": (),
    "FAILED": (),
    "EXPIRED": (),
}
"""The statuses that may follow each status."""


def is_final(status: BookingStatus) -> bool:
    """Return whether no status can follow."""
    return not LEGAL[status]
