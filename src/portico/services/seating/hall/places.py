"""The states of a show's places: a byte for each seat, and counts for standing sections.

The states are Free, Held, Sold and Blocked. Within the bytes a free accessible seat has a letter of its own, so that a
search for free seats side by side skips accessible ones.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Self, get_args

from portico.services.seating.errors import NotEnoughSeats, SeatsInUse, SeatTaken
from portico.services.seating.hall.layout import Layout, Section

State = Literal["F", "H", "S", "B"]
"""Free, Held, Sold or Blocked."""

STATES: Final[tuple[State, ...]] = get_args(State)
FREE_ACCESSIBLE: Final = ord("f")
SEPARATOR: Final = ord("\n")

_USED: Final = frozenset(b"HSB")
_POSITION: Final = {ord(state): number for number, state in enumerate(STATES)} | {FREE_ACCESSIBLE: 0}
_PLAIN: Final = bytes.maketrans(b"f", b"F")
_STANDING: Final = struct.Struct("<IIII")
_MAX_NAMED: Final = 100  # seats that an error names
_MAX_STARTS: Final = 16  # numbers of seats whose search starts are kept for a section


class Counts(NamedTuple):
    """How many places are in each state."""

    available: int
    held: int
    sold: int
    blocked: int

    @property
    def used(self) -> int:
        return self.held + self.sold + self.blocked

    @property
    def total(self) -> int:
        return sum(self)


@dataclass(frozen=True, slots=True)
class Selection:
    """Some places of a show.

    seats: indexes of seats, in increasing order.
    standing: number of places by the number of the standing section.
    """

    seats: tuple[int, ...] = ()
    standing: Mapping[int, int] = field(default_factory=dict)

    @property
    def quantity(self) -> int:
        return len(self.seats) + sum(self.standing.values())

    @property
    def is_adjacent(self) -> bool:
        """Whether all places are seats side by side, or all are in one standing section."""
        if self.standing:
            return not self.seats and len(self.standing) == 1
        return self.seats[-1] - self.seats[0] + 1 == len(self.seats)


class Places:
    """The states of all places of a show. A change applies to all places of a selection or to none."""

    def __init__(self, layout: Layout, seats: bytearray, counts: list[list[int]]) -> None:
        self.layout = layout
        self._seats = seats
        self._counts = counts
        self._search_starts: list[dict[int, int]] = [{} for _ in layout.sections]

    @classmethod
    def empty(cls, layout: Layout) -> Self:
        """Return the places of a show on which nothing is held, sold or blocked."""
        seats = bytearray([SEPARATOR])
        for section in layout.seated:
            seats += (b"F" * section.seats_per_row + b"\n") * section.rows
            for index in section.accessible:
                seats[index] = FREE_ACCESSIBLE
        return cls(layout, seats, [[each.places, 0, 0, 0] for each in layout.sections])

    @classmethod
    def load(cls, layout: Layout, stored: bytes) -> Self:
        """Return the places that `dump` stored. Raises ValueError if they are not those of this layout."""
        standing = [each for each in layout.sections if each.is_standing]
        if len(stored) != layout.size + len(standing) * _STANDING.size:
            raise ValueError(
                f"{len(stored)} bytes are stored for a layout of {layout.size} and {len(standing)} sections"
            )
        seats = bytearray(memoryview(stored)[: layout.size])
        counts = [[0, 0, 0, 0] if each.is_standing else _counted(seats, each) for each in layout.sections]
        for number, each in enumerate(standing):
            counts[each.number - 1] = list(_STANDING.unpack_from(stored, layout.size + number * _STANDING.size))
        return cls(layout, seats, counts)

    def dump(self) -> bytes:
        """Return the states as bytes for storage."""
        standing = (self._counts[each.number - 1] for each in self.layout.sections if each.is_standing)
        return b"".join([self._seats, *(_STANDING.pack(*counts) for counts in standing)])

    @property
    def buffer(self) -> bytearray:
        """The states of all seats by index, with separators. For reading only."""
        return self._seats

    def counts(self, section: Section | None = None) -> Counts:
        """Return how many places of a section, or of the show, are in each state."""
        if section is not None:
            return Counts(*self._counts[section.number - 1])
        return Counts(*map(sum, zip(*self._counts, strict=True)))

    def available(self, section: Section) -> int:
        """Return how many places of a section are free."""
        return self._counts[section.number - 1][0]

    def search_start(self, section: Section, quantity: int) -> int:
        """Return the row from which to search for `quantity` seats side by side that leave no single seat.

        Whether a row has such seats depends on that row only. A row that was searched without success is searched again only
        after it has changed.
        """
        return self._search_starts[section.number - 1].get(quantity, section.first)

    def start_search_at(self, row: int, section: Section, quantity: int) -> None:
        """Note that the search may start at the row that begins at `row`: no row before it has such seats."""
        starts = self._search_starts[section.number - 1]
        if quantity in starts or len(starts) < _MAX_STARTS:
            starts[quantity] = row

    def state(self, index: int) -> State:
        """Return the state of a seat."""
        return STATES[_POSITION[self._seats[index]]]

    def rows(self, section: Section) -> list[str]:
        """Return the states of a section's seats, a string for each row."""
        rows = self._seats[section.first : section.end - 1].translate(_PLAIN).decode("ascii")
        return rows.split("\n") if section.rows else []

    def change(self, selection: Selection, source: State, target: State) -> None:
        """Change the state of places.

        Raises:
            SeatTaken: `source` is Free, and some of the seats are not.
            NotEnoughSeats: `source` is Free, and a standing section has fewer free places.
            ValueError: some of the places are not in another `source`.
        """
        position = STATES.index(source)
        if taken := [each for each in selection.seats if _POSITION[self._seats[each]] != position]:
            if source == "F":
                raise SeatTaken(seats=self._named(taken))
            raise ValueError(f"Seats {self._named(taken)} are not in state {source}")
        for number, quantity in selection.standing.items():
            if (available := self._counts[number - 1][position]) < quantity:
                if source == "F":
                    raise NotEnoughSeats(requested=quantity, available=available)
                raise ValueError(f"Section {number} has {available} places in state {source}, not {quantity}")
        self._write(selection.seats, target)
        for number, quantity in selection.standing.items():
            self._count(number, source, -quantity)
            self._count(number, target, quantity)

    def block(self, seats: Iterable[int]) -> list[int]:
        """Block seats that are free. Return those that were not blocked before. Raises SeatTaken."""
        chosen = list(seats)
        if taken := [each for each in chosen if self.state(each) in {"H", "S"}]:
            raise SeatTaken(seats=self._named(taken))
        changed = [each for each in chosen if self.state(each) == "F"]
        self._write(changed, "B")
        return changed

    def unblock(self, seats: Iterable[int]) -> list[int]:
        """Free seats that are blocked. Return those that were blocked. Raises SeatTaken if one is held or sold."""
        chosen = list(seats)
        if taken := [each for each in chosen if self.state(each) in {"H", "S"}]:
            raise SeatTaken(seats=self._named(taken))
        changed = [each for each in chosen if self.state(each) == "B"]
        self._write(changed, "F")
        return changed

    def resized(self, layout: Layout) -> "Places":
        """Return these places in another layout. `Layout.index_in` returns the new indexes of seats.

        Raises:
            SeatsInUse: places that are held, sold or blocked do not exist in the new layout.
        """
        new = Places.empty(layout)
        for old in self.layout.sections:
            section = layout.sections[old.number - 1] if old.number <= len(layout.sections) else None
            if section is not None and old.is_standing and section.is_standing:
                self._move_standing(old, section, new)
            elif self.counts(old).used:
                self._move_seats(old, layout, new)
        return new

    def _move_standing(self, old: Section, section: Section, new: "Places") -> None:
        counts = self.counts(old)
        if counts.used > section.places:
            raise SeatsInUse(seats=[], section=section.name, used=counts.used)
        for state, quantity in zip(STATES[1:], counts[1:], strict=True):
            new.change(Selection(standing={section.number: quantity}), "F", state)

    def _move_seats(self, old: Section, layout: Layout, new: "Places") -> None:
        used = [index for index in range(old.first, old.end) if self._seats[index] in _USED]
        moved = {index: self.layout.index_in(layout, index) for index in used}
        lost = [index for index, target in moved.items() if target is None]
        if old.is_standing or lost:
            raise SeatsInUse(seats=self._named(lost), section=old.name, used=self.counts(old).used)
        for state in STATES[1:]:
            targets = (target for index, target in moved.items() if target is not None and self.state(index) == state)
            new.change(Selection(tuple(targets)), "F", state)

    def _write(self, seats: Sequence[int], target: State) -> None:
        for index in seats:
            section = self.layout.section_of(index)
            counts = self._counts[section.number - 1]
            counts[_POSITION[self._seats[index]]] -= 1
            counts[_POSITION[ord(target)]] += 1
            is_free_accessible = target == "F" and index in section.accessible
            self._seats[index] = FREE_ACCESSIBLE if is_free_accessible else ord(target)
            starts = self._search_starts[section.number - 1]
            for quantity, start in starts.items():
                if index < start:
                    starts[quantity] = section.row_start(index)

    def _count(self, number: int, state: State, difference: int) -> None:
        self._counts[number - 1][STATES.index(state)] += difference

    def _named(self, seats: Sequence[int]) -> list[str]:
        return [self.layout.seat_id(each) for each in seats[:_MAX_NAMED]]


def _counted(seats: bytearray, section: Section) -> list[int]:
    counts = [seats.count(state.encode(), section.first, section.end) for state in STATES]
    counts[0] += seats.count(FREE_ACCESSIBLE, section.first, section.end)
    return counts
