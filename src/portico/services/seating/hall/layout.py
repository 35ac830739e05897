"""The layout of a hall: sections with rows of seats, or with a number of standing places.

A seat has an index: its position in the bytes that hold the states of all seats. Each row ends with a separator, and one
stands before the first row, so seats side by side have consecutive indexes and seats of different rows do not.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple, Self

from portico.contracts.events import SectionPlan
from portico.services.seating.errors import UnknownSeat, UnknownSection

_LETTERS: Final = 26
_CACHED_ROWS: Final = 4_096
_SEAT_ID = re.compile(r"([1-9][0-9]{0,5})-([A-Z]{1,4})-([1-9][0-9]{0,5})")
_SEAT_OF_SECTION = re.compile(r"([A-Z]{1,4})-([1-9][0-9]{0,5})")


@lru_cache(_CACHED_ROWS)
def row_name(row: int) -> str:
    """Return the name of a row, counted from 0: A to Z, AA, AB and so on."""
    name = ""
    row += 1
    while row:
        row, letter = divmod(row - 1, _LETTERS)
        name = chr(ord("A") + letter) + name
    return name


@lru_cache(_CACHED_ROWS)
def row_number(name: str) -> int:
    """Return the number of a row, counted from 0. `name` consists of the letters A to Z."""
    number = 0
    for letter in name:
        number = number * _LETTERS + ord(letter) - ord("A") + 1
    return number - 1


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a hall.

    number: from 1, best first.
    rows: 0 in a standing section.
    first: index of the first seat; 0 in a standing section.
    accessible: indexes of the accessible seats.
    price: price of a place; None for the show's price.
    """

    number: int
    name: str
    places: int
    rows: int = 0
    seats_per_row: int = 0
    first: int = 0
    accessible: frozenset[int] = frozenset()
    price: Decimal | None = None

    @property
    def is_standing(self) -> bool:
        return self.rows == 0

    @property
    def end(self) -> int:
        """The index after the last row's separator."""
        return self.first + self.rows * (self.seats_per_row + 1)

    def index(self, row: int, number: int) -> int | None:
        """Return the index of a seat by its row, counted from 0, and its number, counted from 1."""
        if not (0 <= row < self.rows and 1 <= number <= self.seats_per_row):
            return None
        return self.first + row * (self.seats_per_row + 1) + number - 1

    def row_start(self, index: int) -> int:
        """Return the index of the first seat in the row of a seat."""
        return index - (index - self.first) % (self.seats_per_row + 1)

    def place(self, index: int) -> tuple[int, int]:
        """Return the row, counted from 0, and the number, counted from 1, of the seat with this index."""
        row, column = divmod(index - self.first, self.seats_per_row + 1)
        return row, column + 1


class Seat(NamedTuple):
    """A seat of a hall, as people read it. `row_number` is its row, counted from 0."""

    seat_id: str
    section: Section
    row: str
    number: int
    row_number: int


@dataclass(frozen=True)
class Layout:
    """The sections of a hall, best first."""

    sections: tuple[Section, ...]
    _seated: tuple[Section, ...] = field(init=False, repr=False, compare=False)
    _firsts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        seated = tuple(each for each in self.sections if not each.is_standing)
        object.__setattr__(self, "_seated", seated)
        object.__setattr__(self, "_firsts", tuple(each.first for each in seated))

    @classmethod
    def of(cls, plans: Sequence[SectionPlan]) -> Self:
        """Return the layout of these sections. A plan has either `rows` and `seats_per_row`, or `capacity`.

        Raises:
            UnknownSeat: an accessible seat does not exist.
        """
        sections: list[Section] = []
        first = 1
        for number, plan in enumerate(plans, 1):
            section = _section_of(plan, number, first)
            sections.append(section)
            if not section.is_standing:
                first = section.end
        return cls(tuple(sections))

    @property
    def places(self) -> int:
        """The number of places, seated and standing."""
        return sum(each.places for each in self.sections)

    @property
    def size(self) -> int:
        """The number of bytes that hold the states of all seats: one per seat, one per row, and one before the first."""
        return self._seated[-1].end if self._seated else 1

    @property
    def seated(self) -> tuple[Section, ...]:
        """The sections with seats."""
        return self._seated

    def section(self, name: str) -> Section:
        """Return the section with this name. Raises UnknownSection."""
        for each in self.sections:
            if each.name == name:
                return each
        raise UnknownSection(section=name)

    def section_of(self, index: int) -> Section:
        """Return the section of the seat with this index."""
        return self._seated[bisect_right(self._firsts, index) - 1]

    def seat(self, index: int) -> Seat:
        """Return the seat with this index."""
        section = self.section_of(index)
        row, number = section.place(index)
        name = row_name(row)
        return Seat(f"{section.number}-{name}-{number}", section, name, number, row)

    def seat_id(self, index: int) -> str:
        """Return the id of the seat with this index: "1-A-12"."""
        section = self.section_of(index)
        row, number = section.place(index)
        return f"{section.number}-{row_name(row)}-{number}"

    def index_of(self, seat_id: str) -> int | None:
        """Return the index of a seat, or None if the hall has no such seat."""
        parts = _SEAT_ID.fullmatch(seat_id)
        if parts is None or int(parts[1]) > len(self.sections):
            return None
        return self.sections[int(parts[1]) - 1].index(row_number(parts[2]), int(parts[3]))

    def indexes_of(self, seat_ids: Iterable[str]) -> list[int]:
        """Return the indexes of these seats, in order. Raises UnknownSeat with those that do not exist."""
        found = {each: self.index_of(each) for each in seat_ids}
        if unknown := [each for each, index in found.items() if index is None]:
            raise UnknownSeat(seats=unknown)
        return [index for index in found.values() if index is not None]

    def indexes(self) -> Iterator[int]:
        """Yield the index of each seat, in order."""
        for section in self._seated:
            for row in range(section.rows):
                start = section.first + row * (section.seats_per_row + 1)
                yield from range(start, start + section.seats_per_row)

    def index_in(self, other: "Layout", index: int) -> int | None:
        """Return the index in `other` of the seat that has this index here, or None if it does not exist there.

        A seat remains the same seat if its section's number, its row and its number remain.
        """
        section = self.section_of(index)
        if section.number > len(other.sections):
            return None
        return other.sections[section.number - 1].index(*section.place(index))


def _section_of(plan: SectionPlan, number: int, first: int) -> Section:
    if plan.capacity is not None:
        return Section(number, plan.name, plan.capacity, price=plan.price)
    rows, seats_per_row = plan.rows or 0, plan.seats_per_row or 0
    section = Section(number, plan.name, rows * seats_per_row, rows, seats_per_row, first, price=plan.price)
    found = {name: _accessible_index(section, name) for name in plan.accessible}
    if unknown := [f"{number}-{name}" for name, index in found.items() if index is None]:
        raise UnknownSeat(seats=unknown)
    accessible = frozenset(index for index in found.values() if index is not None)
    return Section(number, plan.name, section.places, rows, seats_per_row, first, accessible, plan.price)


def _accessible_index(section: Section, name: str) -> int | None:
    parts = _SEAT_OF_SECTION.fullmatch(name)
    return None if parts is None else section.index(row_number(parts[1]), int(parts[2]))
