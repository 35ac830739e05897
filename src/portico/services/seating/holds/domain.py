"""Holds: their places, prices and statuses."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Final, NamedTuple

from portico.contracts.events import ShowId
from portico.contracts.seating import (
    HoldId,
    HoldStatus,
    WaitlistEntryId,
)
from portico.kit import UserId

HOLDING: Final = frozenset[HoldStatus]({"ACTIVE", "CLAIMED"})
ENDED: Final = frozenset[HoldStatus]({"RELEASED", "EXPIRED"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The places that a user wants: a number of the best ones, or chosen seats; with a code, if the user has one."""

    quantity: int
    section: str | None = None
    together: bool = False
    accessible: bool = False
    seats: tuple[str, ...] = ()
    code: str | None = None


class HeldPlace(NamedTuple):
    """A place of a hold. `seat_id`, `row` and `number` are None in a standing section. The price is in minor units."""

    seat_id: str | None
    section_number: int
    section: str
    row: str | None
    number: int | None
    price: int
    is_returned: bool = False


@dataclass(slots=True)
class Hold:
    """A hold: all of its places or none.

    `known` says whether it is stored already; `changed` whether it has to be written. `entry_id` is the entry in the
    waiting list that the hold is an offer to.
    """

    hold_id: HoldId
    show_id: ShowId
    user_id: UserId
    status: HoldStatus
    places: list[HeldPlace]
    discount: int
    currency: str
    is_adjacent: bool
    expires_at: datetime
    created_at: datetime
    booking_id: str | None = None
    return_keys: list[str] = field(default_factory=list)
    code_key: str | None = None
    changes: int = 0
    entry_id: WaitlistEntryId | None = None
    known: bool = True
    changed: bool = False

    def copy(self) -> "Hold":
        """Return the hold as it is now. A later change of the original does not affect the copy."""
        return Hold(*_values_of(self))

    @property
    def quantity(self) -> int:
        return len(self.places)

    @property
    def amount(self) -> int:
        """What the places cost, in minor units."""
        return sum(each.price for each in self.places)

    @property
    def used(self) -> int:
        """The number of places that count towards the user's limit."""
        if self.status in ENDED:
            return 0
        return sum(not each.is_returned for each in self.places)

    @property
    def seat_ids(self) -> tuple[str, ...]:
        return tuple(each.seat_id for each in self.places if each.seat_id is not None)

    def has_ended(self, now: datetime) -> bool:
        """Return whether its time is over, also before its places are freed."""
        return self.status in ENDED or (self.status == "ACTIVE" and self.expires_at <= now)

    def status_at(self, now: datetime) -> HoldStatus:
        """Return the status that callers see: a hold whose time is over has expired."""
        return "EXPIRED" if self.status == "ACTIVE" and self.expires_at <= now else self.status

    def change_to(self, status: HoldStatus) -> None:
        self.status, self.changed = status, True
        self.changes += 1


_values_of = attrgetter(*(each.name for each in fields(Hold)))
"""Returns the values of a hold in order, in a tenth of the time of `dataclasses.replace`."""


class Usage(NamedTuple):
    """How many places of a show a user holds and has booked."""

    held: int = 0
    booked: int = 0
