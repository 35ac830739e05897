"""Comparison of the places of a show with its holds and with the live tickets of its bookings."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from portico.contracts.bookings import SoldPlace
from portico.services.seating.hall.places import Counts, Places
from portico.services.seating.holds.domain import HOLDING, Hold

MismatchKind = Literal["seat_state", "section_counts", "two_holders", "ticket_missing", "ticket_surplus"]


class PlaceOfBooking(NamedTuple):
    """A sold place: the booking, and the seat, or the section of a standing place."""

    booking_id: str
    place: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two records that disagree: what the holds or the sold places say, and what was found instead."""

    kind: MismatchKind
    place: str
    expected: str
    found: str


def mismatches(
    places: Places, stored: Mapping[int, Counts], holds: Sequence[Hold], tickets: Iterable[SoldPlace] | None
) -> Iterator[Mismatch]:
    """Yield each mismatch.

    Args:
        places: the states of the places.
        stored: the counts of each section, as they are stored.
        holds: the holds of the show that have places.
        tickets: the live tickets of the show; None if there is no service of bookings.
    """
    yield from _seat_mismatches(places, holds)
    yield from _count_mismatches(places, stored, holds)
    if tickets is not None:
        yield from _ticket_mismatches(holds, tickets)


def _seat_mismatches(places: Places, holds: Sequence[Hold]) -> Iterator[Mismatch]:
    expected: dict[str, str] = {}
    for hold in holds:
        for seat_id in _used_seats(hold):
            if seat_id in expected:
                yield Mismatch("two_holders", seat_id, "one hold", f"also {hold.hold_id}")
            expected[seat_id] = "H" if hold.status in HOLDING else "S"
    layout = places.layout
    for index in layout.indexes():
        state, seat_id = places.state(index), layout.seat_id(index)
        wanted = expected.pop(seat_id, None)
        if wanted is None and state in {"H", "S"}:
            yield Mismatch("seat_state", seat_id, "free or blocked", state)
        elif wanted is not None and state != wanted:
            yield Mismatch("seat_state", seat_id, wanted, state)
    for seat_id, wanted in expected.items():
        yield Mismatch("seat_state", seat_id, wanted, "no such seat")


def _used_seats(hold: Hold) -> Iterator[str]:
    return (each.seat_id for each in hold.places if each.seat_id is not None and not each.is_returned)


def _count_mismatches(places: Places, stored: Mapping[int, Counts], holds: Sequence[Hold]) -> Iterator[Mismatch]:
    standing: Counter[tuple[int, str]] = Counter()
    for hold in holds:
        state = "held" if hold.status in HOLDING else "sold"
        for each in hold.places:
            if each.seat_id is None and not each.is_returned:
                standing[each.section_number, state] += 1
    for section in places.layout.sections:
        counts = places.counts(section)
        if stored.get(section.number) != counts:
            yield Mismatch("section_counts", section.name, str(tuple(counts)), str(stored.get(section.number)))
        if section.is_standing:
            expected = (standing[section.number, "held"], standing[section.number, "sold"])
            if expected != (counts.held, counts.sold):
                yield Mismatch("section_counts", section.name, str(expected), str((counts.held, counts.sold)))


def _ticket_mismatches(holds: Sequence[Hold], tickets: Iterable[SoldPlace]) -> Iterator[Mismatch]:
    sold = Counter(
        PlaceOfBooking(str(hold.booking_id), each.seat_id or each.section)
        for hold in holds
        if hold.status == "SOLD"
        for each in hold.places
        if not each.is_returned
    )
    live = Counter(PlaceOfBooking(each.booking_id, each.seat_id or each.section) for each in tickets)
    for key, number in (sold - live).items():
        yield Mismatch("ticket_missing", key.place, f"{number} more tickets of {key.booking_id}", str(live[key]))
    for key, number in (live - sold).items():
        yield Mismatch("ticket_surplus", key.place, f"{number} fewer tickets of {key.booking_id}", str(live[key]))
