"""A show whose row is locked: its places, and the journal of their changes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from portico.contracts.events import OrphanRule, ShowId, ShowStatus, WaitingRoomMode
from portico.contracts.seating import HoldId, SalesExhausted, SalesResumed
from portico.kit import Event
from portico.services.seating.hall.layout import Seat, Section
from portico.services.seating.hall.places import Counts, Places, Selection, State

_ROWS_OF_PART: Final = 8
_SECTION_BITS: Final = 16


class PlaceChange(NamedTuple):
    """An entry of the journal: a seat and its state, or a standing section and its available places."""

    place: str
    state: str | int
    hold_id: str | None
    reason: str


@dataclass(slots=True)
class LockedShow:
    """A show whose row is locked, with its places, and what a batch of requests changes in it.

    Args:
        show_id: its id.
        is_closed: whether it was deleted, so that nothing can be held.
        status: its status.
        sold_out_by_hand: whether an administrator set SOLD_OUT.
        sale_starts_at: start of the sale; None if it is open from the beginning.
        sale_ends_at: end of the sale.
        currency: currency of its prices.
        prices: price of a place in each section, in minor units.
        max_seats: how many places one user may have.
        waiting_room: whether users have to be admitted to take places.
        orphan_rule: whether chosen seats may leave a single free seat.
        is_exhausted: whether every place that is not blocked was sold.
        exhaustion_number: how often that has changed.
        places: the states of its places.
        has_freed: whether places have come free that the waiting list has not been offered.
    """

    show_id: ShowId
    is_closed: bool
    status: ShowStatus
    sold_out_by_hand: bool
    sale_starts_at: datetime | None
    sale_ends_at: datetime
    currency: str
    prices: Sequence[int]
    max_seats: int
    waiting_room: WaitingRoomMode
    orphan_rule: OrphanRule
    is_exhausted: bool
    exhaustion_number: int
    places: Places
    journal: dict[int, list[PlaceChange]] = field(default_factory=dict)
    changed_seats: set[int] = field(default_factory=set)
    changed_sections: set[int] = field(default_factory=set)
    has_freed: bool = False

    def move(
        self, selection: Selection, source: State, target: State, *, hold_id: HoldId | None, reason: str
    ) -> list[Seat]:
        """Change the state of places, note it in the journal, and return the seats. Raises what `Places.change` raises."""
        self.places.change(selection, source, target)
        return self.note(selection, target, hold_id=hold_id, reason=reason)

    def note(self, selection: Selection, state: State, *, hold_id: HoldId | None, reason: str) -> list[Seat]:
        """Note a change of places that was made, and return the seats."""
        layout = self.places.layout
        self.has_freed |= state == "F"
        seats = [layout.seat(index) for index in selection.seats]
        for seat in seats:
            change = PlaceChange(seat.seat_id, state, hold_id, reason)
            self._append(part_of(seat.section, seat.row_number), seat.section, change)
        self.changed_seats.update(selection.seats)
        for number in selection.standing:
            section = layout.sections[number - 1]
            available = self.places.counts(section).available
            self._append(part_of(section), section, PlaceChange(str(number), available, hold_id, reason))
        return seats

    def is_open_at(self, now: datetime) -> bool:
        """Return whether the time is in the window of the sale."""
        return self.has_begun_at(now) and now < self.sale_ends_at

    def has_begun_at(self, now: datetime) -> bool:
        """Return whether the time is after the start of the sale."""
        return self.sale_starts_at is None or self.sale_starts_at <= now

    def update_sales_state(self) -> Event | None:
        """Return the event that every place is sold now, or that places are free again; None if nothing changed."""
        is_exhausted = is_exhausted_with(self.places.counts(), was_exhausted=self.is_exhausted)
        if is_exhausted == self.is_exhausted:
            return None
        self.is_exhausted = is_exhausted
        self.exhaustion_number += 1
        return exhaustion_event(self.show_id, self.exhaustion_number, is_exhausted=is_exhausted)

    def _append(self, part: int, section: Section, change: PlaceChange) -> None:
        self.journal.setdefault(part, []).append(change)
        self.changed_sections.add(section.number)


def is_exhausted_with(counts: Counts, *, was_exhausted: bool) -> bool:
    """Return whether a show is exhausted: every place is sold that is not blocked, and none has become free since."""
    if was_exhausted:
        return not counts.available
    return counts.sold > 0 and counts.available == counts.held == 0


def exhaustion_event(show_id: ShowId, number: int, *, is_exhausted: bool) -> Event:
    """Return the event that a show is exhausted, or no longer is."""
    return (SalesExhausted if is_exhausted else SalesResumed)(event_id=show_id, number=number)


def part_of(section: Section, row: int = 0) -> int:
    """Return the part of the hall that the journal files a row under: it is the same in a larger layout."""
    return section.number << _SECTION_BITS | row // _ROWS_OF_PART
