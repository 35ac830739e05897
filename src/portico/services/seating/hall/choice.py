"""Choice of places: the best available, or a check of chosen seats."""

from collections.abc import Iterator, Sequence
from typing import Final

from portico.contracts.events import OrphanRule
from portico.services.seating.errors import (
    AccessibleOnly,
    LeavesSingleSeat,
    NoAdjacentSeats,
    NotEnoughSeats,
    SeatTaken,
)
from portico.services.seating.hall.blocks import (
    best_block,
    clean_block_pattern,
    find_block,
    largest_block,
    single_seats_left,
)
from portico.services.seating.hall.layout import Layout, Section
from portico.services.seating.hall.pieces import fewest_pieces
from portico.services.seating.hall.places import FREE_ACCESSIBLE, Places, Selection

_ACCESSIBLE: Final = bytes([FREE_ACCESSIBLE])


def best_available(
    places: Places, quantity: int, *, section: Section | None = None, together: bool = False, accessible: bool = False
) -> Selection:
    """Return the best places that are free. The result depends only on the states of the places.

    First come seats side by side that leave no single free seat, nearest the front, then the middle, in the first section
    that has them. Places in a standing section count as such. Then come seats side by side that leave a single seat,
    then the fewest pieces, nearest together.

    Args:
        places: the states of the places.
        quantity: number of places, at least 1.
        section: choose in this section only.
        together: choose only seats side by side, or places of one standing section.
        accessible: choose exactly one accessible seat, and the others beside it. Otherwise none is chosen.

    Raises:
        NotEnoughSeats: fewer places are free. With `accessible`, no accessible seat is free.
        NoAdjacentSeats: with `together` or `accessible`, no block is large enough.
    """
    sections = places.layout.sections if section is None else (section,)
    if accessible:
        return _accessible_block(places, sections, quantity)
    offered: list[tuple[Section, int]] = []
    for each in sections:
        number = _choosable(places, each)
        if number >= quantity and (block := _clean_block(places, each, quantity)) is not None:
            return block
        offered.append((each, number))
    if (available := sum(number for _, number in offered)) < quantity:
        raise NotEnoughSeats(requested=quantity, available=available)
    for each, number in offered:  # their blocks all leave a single seat
        if number >= quantity and (block := _any_block(places, each, quantity)) is not None:
            return block
    if together:
        raise NoAdjacentSeats(largest_block=max(_largest(places, each, number, quantity) for each, number in offered))
    return fewest_pieces(places, offered, quantity)


def _clean_block(places: Places, section: Section, quantity: int) -> Selection | None:
    """Return seats side by side that leave no single seat, or places of a standing section, which has as many."""
    if section.is_standing:
        return Selection(standing={section.number: quantity})
    buffer = places.buffer
    first = find_block(buffer, section, quantity, places.search_start(section, quantity))
    start = None if first is None else best_block(buffer, section, quantity, first, clean=True)
    places.start_search_at(section.end if start is None else section.row_start(start), section, quantity)
    return None if start is None else Selection(tuple(range(start, start + quantity)))


def _any_block(places: Places, section: Section, quantity: int) -> Selection | None:
    """Return seats side by side."""
    if (first := find_block(places.buffer, section, quantity, section.first)) is None:
        return None
    start = best_block(places.buffer, section, quantity, first, clean=False)
    return None if start is None else Selection(tuple(range(start, start + quantity)))


def count_choosable(places: Places) -> int:
    """Return the number of free places of a show that are not accessible seats."""
    return sum(_choosable(places, each) for each in places.layout.sections)


def check_chosen(places: Places, seats: Sequence[int], rule: OrphanRule) -> None:
    """Check whether a user may take these seats.

    Another choice in a row is a block of as many seats that leaves no single seat.

    Raises:
        SeatTaken: some of the seats are not free.
        AccessibleOnly: some of them are accessible seats.
        LeavesSingleSeat: the rule is REFUSE, the choice leaves a single free seat, and the row has another choice.
    """
    layout = places.layout
    if taken := [each for each in seats if places.state(each) != "F"]:
        raise SeatTaken(seats=[layout.seat_id(each) for each in taken])
    if reserved := [each for each in seats if places.buffer[each] == FREE_ACCESSIBLE]:
        raise AccessibleOnly(seats=[layout.seat_id(each) for each in reserved])
    if rule == "AVOID":
        return
    left = [each for each in single_seats_left(places.buffer, seats) if _has_other_choice(places, each, seats)]
    if left:
        raise LeavesSingleSeat(seats=[layout.seat_id(each) for each in left])


def _has_other_choice(places: Places, index: int, seats: Sequence[int]) -> bool:
    start, end = _row(places.layout, index)
    size = sum(start <= each < end for each in seats)
    return clean_block_pattern(size).search(places.buffer, start, end + 1) is not None


def _row(layout: Layout, index: int) -> tuple[int, int]:
    """Return the index of the first seat in the row of a seat, and the index after the last."""
    section = layout.section_of(index)
    start = section.row_start(index)
    return start, start + section.seats_per_row


def _choosable(places: Places, section: Section) -> int:
    """Return the number of free places in a section that are not accessible seats."""
    available = places.available(section)
    return available - places.buffer.count(_ACCESSIBLE, section.first, section.end) if section.accessible else available


def _largest(places: Places, section: Section, available: int, quantity: int) -> int:
    if section.is_standing:
        return available
    return largest_block(places.buffer, section, min(quantity, available + 1))


def _accessible_block(places: Places, sections: Sequence[Section], quantity: int) -> Selection:
    """Return a block with exactly one accessible seat."""
    fallback: int | None = None
    largest = 0
    for section in sections:
        for row in _rows_with_accessible_seats(places.buffer, section):
            start, end = _row(places.layout, row)
            runs = list(_runs_around_accessible_seats(places.buffer, start, end))
            largest = max(largest, *(right - left for left, _, right in runs))
            blocks = _blocks_nearest_middle(runs, start, end, quantity)
            for first in blocks:
                if not single_seats_left(places.buffer, range(first, first + quantity)):
                    return Selection(tuple(range(first, first + quantity)))
            if fallback is None and blocks:
                fallback = blocks[0]
    if fallback is not None:
        return Selection(tuple(range(fallback, fallback + quantity)))
    if not largest:
        raise NotEnoughSeats(requested=quantity, available=0)
    raise NoAdjacentSeats(largest_block=largest)


def _rows_with_accessible_seats(buffer: bytearray, section: Section) -> Iterator[int]:
    """Yield the first free accessible seat of each row that has one."""
    found = buffer.find(_ACCESSIBLE, section.first, section.end)
    while found >= 0:
        yield found
        row, _ = section.place(found)
        found = buffer.find(_ACCESSIBLE, section.first + (row + 1) * (section.seats_per_row + 1), section.end)


def _runs_around_accessible_seats(buffer: bytearray, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the start, the accessible seat and the end of each run with exactly one accessible seat."""
    found = buffer.find(_ACCESSIBLE, start, end)
    while found >= 0:
        before, after = bytes(buffer[start:found]), bytes(buffer[found + 1 : end])
        left = found - (len(before) - len(before.rstrip(b"F")))
        right = found + 1 + (len(after) - len(after.lstrip(b"F")))
        yield left, found, right
        found = buffer.find(_ACCESSIBLE, found + 1, end)


def _blocks_nearest_middle(runs: Sequence[tuple[int, int, int]], start: int, end: int, quantity: int) -> list[int]:
    """Return the first seats of the blocks with one accessible seat, the one nearest the middle of the row first."""
    firsts = {
        first
        for left, seat, right in runs
        for first in range(max(left, seat - quantity + 1), min(seat, right - quantity) + 1)
    }
    return sorted(firsts, key=lambda first: (abs(2 * first + quantity - start - end), first))
