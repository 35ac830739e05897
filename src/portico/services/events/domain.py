"""Rules of shows that need no table: sections and their seats, time zones, the status machine."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from portico.contracts.events import SectionPlan, ShowStatus
from portico.kit.foundation import CJK, blank_separators, fold

MAX_SEATS: Final = 200_000
MAX_SECTIONS: Final = 200
MAX_ACCESSIBLE: Final = 5_000
MAX_NAME_LENGTH: Final = 255
MAX_ZONE_LENGTH: Final = 64
GENERAL: Final = "General"
"""Name of the only section of a show that was created without sections."""

ALL: Final = -1
"""Stands for the number of available places of a show from which none was taken yet."""

COMPLETED_AFTER: Final = timedelta(days=1)
FULL_REFUND_FOR: Final = timedelta(days=14)
FIRST_TIME: Final = datetime(1900, 1, 1, tzinfo=UTC)
LAST_TIME: Final = datetime(9000, 1, 1, tzinfo=UTC)

MAX_WORDS_LENGTH: Final = 1_000

FURTHEST_ZONE: Final = timedelta(hours=16)
"""More than the offset of any time zone, also of those of the past."""

ENDED: Final[tuple[ShowStatus, ...]] = ("CANCELLED", "COMPLETED")

_ZONE: Final = re.compile(r"[A-Z][A-Za-z0-9_+/-]*")  # without "localtime", "posix/…" and "right/…" of some machines
_SEAT: Final = re.compile(r"([A-Z]{1,4})-([1-9][0-9]{0,5})")
_LETTERS: Final = 26
_HAS_CJK: Final = re.compile(f"[{CJK}]")


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Return an IANA time zone. Raises ValueError if it is unknown."""
    found = None
    if _ZONE.fullmatch(name):
        with suppress(ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder, or a name that is too long
            found = ZoneInfo(name)
    if found is None:
        raise ValueError(f"unknown time zone; write an IANA name such as Europe/Berlin, not {name[:40]!r}")
    return found


def local_time(moment: datetime, time_zone: str) -> str:
    """Return a time in a time zone as RFC 3339, with the zone's offset: 2027-03-01T20:00:00+01:00."""
    return moment.astimezone(zone(time_zone)).isoformat()


def local_date(moment: datetime, time_zone: str) -> str:
    """Return the date of a time in a time zone (YYYY-MM-DD)."""
    return moment.astimezone(zone(time_zone)).date().isoformat()


def words_of(text: str) -> list[str]:
    """Return the words of a text without case and accents."""
    return blank_separators(fold(text)).split()


def spaced_words(text: str) -> str:
    """Return the words of a text, each between spaces, as `word_patterns` finds them."""
    return f" {' '.join(words_of(text))} "[:MAX_WORDS_LENGTH]


def word_patterns(text: str) -> list[str]:
    """Return patterns for LIKE that find the words of a text in `spaced_words`.

    Chinese, Japanese and Korean are written without spaces, so their words are found within others.
    """
    return [f"%{word}%" if _HAS_CJK.search(word) else f"% {word} %" for word in words_of(text)]


def row_number(label: str) -> int:
    """Return the number, from 1, of a row: A is 1, Z is 26, AA is 27."""
    number = 0
    for letter in label:
        number = number * _LETTERS + ord(letter) - ord("A") + 1
    return number


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a hall: seated with `rows` and `seats_per_row`, or standing with `capacity`.

    price: price of a place; None for the show's price.
    accessible: accessible seats, as row and number within the section ("A-1").
    """

    name: str
    rows: int | None = None
    seats_per_row: int | None = None
    capacity: int | None = None
    price: Decimal | None = None
    accessible: tuple[str, ...] = ()

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> Self:
        """Return the section that `data` stores."""
        price = data["price"]
        return cls(
            **{**data, "price": None if price is None else Decimal(price), "accessible": tuple(data["accessible"])}
        )

    @property
    def data(self) -> dict[str, Any]:
        """The section as JSON."""
        return {
            "name": self.name,
            "rows": self.rows,
            "seats_per_row": self.seats_per_row,
            "capacity": self.capacity,
            "price": None if self.price is None else f"{self.price.normalize():f}",
            "accessible": list(self.accessible),
        }

    @property
    def plan(self) -> SectionPlan:
        """The section as other services know it."""
        return SectionPlan(
            name=self.name,
            rows=self.rows,
            seats_per_row=self.seats_per_row,
            capacity=self.capacity,
            price=self.price,
            accessible=self.accessible,
        )

    @property
    def places(self) -> int:
        """The number of places in the section."""
        return self.capacity if self.capacity is not None else (self.rows or 0) * (self.seats_per_row or 0)

    def faults(self) -> Iterable[str]:
        """Return what is wrong with the section, a phrase each."""
        is_seated = self.rows is not None and self.seats_per_row is not None
        is_mixed = (self.rows is None) != (self.seats_per_row is None)
        if is_mixed or is_seated == (self.capacity is not None):
            yield f"section '{self.name}' must have either rows and seats_per_row, or capacity"
            return
        if len(set(self.accessible)) < len(self.accessible):
            yield f"section '{self.name}' names an accessible seat twice"
        for seat in self.accessible:
            if not self._has_seat(seat):
                yield f"section '{self.name}' has no seat '{seat}' that could be accessible"

    def _has_seat(self, seat: str) -> bool:
        found = _SEAT.fullmatch(seat)
        if found is None or self.rows is None or self.seats_per_row is None:
            return False
        return row_number(found[1]) <= self.rows and int(found[2]) <= self.seats_per_row


def general_section(places: int) -> Section:
    """Return the only section of a show that was created without sections."""
    return Section(GENERAL, capacity=places)


def layout_fault(sections: Sequence[Section]) -> str | None:
    """Return what is wrong with the sections of a show, or None."""
    names = {each.name.casefold() for each in sections}
    if len(names) < len(sections):
        return "two sections have the same name"
    if sum(len(each.accessible) for each in sections) > MAX_ACCESSIBLE:
        return f"at most {MAX_ACCESSIBLE} seats can be accessible"
    return next((fault for each in sections for fault in each.faults()), None)


def next_statuses(current: ShowStatus, *, is_over: bool, reopen: bool) -> list[ShowStatus]:
    """Return the statuses to which an administrator may change a show.

    Args:
        current: its status.
        is_over: whether its date has passed.
        reopen: whether the administrator asks to put a sold-out show on sale again.
    """
    if current in ENDED:
        return []
    if current == "UPCOMING":
        return ["ON_SALE", "CANCELLED"]
    found: list[ShowStatus] = ["SOLD_OUT" if current == "ON_SALE" else "ON_SALE", "CANCELLED"]
    if current == "SOLD_OUT" and not reopen:
        found.remove("ON_SALE")
    return [*found, "COMPLETED"] if is_over else found
