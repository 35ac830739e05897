"""Choice of separate places: the fewest pieces, nearest together.

A piece is a part of a run of free seats side by side in a row, or the free places of a standing section.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter, sub
from typing import Final, NamedTuple

from portico.services.seating.hall.blocks import run_pattern
from portico.services.seating.hall.layout import Section
from portico.services.seating.hall.places import Places, Selection

_MIN_PIECES: Final = 2
_NOT_FREE: Final = bytes(set(range(256)) - set(b"F\n"))
_FEW: Final = 8  # up to this size, counting blocks of each size is faster than listing all runs


class _Run(NamedTuple):
    row: int
    start: int  # index of the first seat
    length: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """The fewest rows of a section that have enough seats in `pieces` pieces."""

    pieces: int
    span: int  # rows between the first and the last
    section: Section
    first: int  # row

    @property
    def is_nearest(self) -> bool:
        """Whether no other rows are better: one piece is not enough."""
        return self.pieces == _MIN_PIECES and self.span == 0


def fewest_pieces(places: Places, sections: Iterable[tuple[Section, int]], quantity: int) -> Selection:
    """Return `quantity` places in the fewest pieces. No block of this size is free.

    If a section has enough, all are in one section: the one with the fewest pieces, then with the fewest rows between
    them, then the best. Else the largest pieces of all sections are taken.

    Args:
        places: the states of the places.
        sections: each with its number of places that can be chosen, together at least `quantity`.
        quantity: number of places.
    """
    offered = list(sections)
    best: _Rows | None = None
    for section, available in offered:
        if available >= quantity and (best is None or _may_be_better(places.buffer, section, quantity, best)):
            best = _nearest_rows(places.buffer, section, available, quantity, best) or best
        if best is not None and best.is_nearest:
            break
    if best is None:
        return _across_sections(places, offered, quantity)
    return Selection(_in_rows(places.buffer, best, quantity))


def _may_be_better(buffer: bytearray, section: Section, quantity: int, best: _Rows) -> bool:
    """Return whether a section may have better rows. Better than pieces in one row are only fewer pieces, with a longer one."""
    longest = -(-quantity // (best.pieces - 1))
    return best.span > 0 or buffer.find(b"F" * longest, section.first, section.end) >= 0


def _across_sections(places: Places, sections: Sequence[tuple[Section, int]], quantity: int) -> Selection:
    pieces: list[tuple[int, int, int]] = []  # length as a negative number, section, first seat
    for section, available in sections:
        if section.is_standing:
            pieces.append((-available, section.number, 0))
        elif available:
            runs = run_pattern(1).finditer(places.buffer, section.first, section.end)
            pieces += [(each.start() - each.end(), section.number, each.start()) for each in runs]
    seats: list[int] = []
    standing: dict[int, int] = {}
    missing = quantity
    for length, number, start in sorted(pieces):
        taken = min(-length, missing)
        missing -= taken
        if start:
            seats += range(start, start + taken)
        elif taken:
            standing[number] = taken
    return Selection(tuple(sorted(seats)), standing)


def _nearest_rows(
    buffer: bytearray, section: Section, available: int, quantity: int, best: _Rows | None
) -> _Rows | None:
    """Return the front-most of the fewest rows that have `quantity` seats in the fewest pieces, if better than `best`.

    A window moves over the runs. Its first run is dropped when the window has enough seats, and when the run is too far
    from the last one for a better result.
    """
    pieces, smallest = _pieces_needed(_runs_by_length(buffer, section, available, quantity), quantity)
    if best is not None and pieces > best.pieces:
        return None
    nearest = best.span if best is not None and best.pieces == pieces else section.rows
    least = 0
    if nearest < section.rows and (not nearest or (least := _least_span(buffer, section, pieces, smallest)) >= nearest):
        return None
    if (row := _single_row(buffer, section, pieces, quantity)) is not None:
        return _Rows(pieces, 0, section, row)
    found: _Rows | None = None
    first, stride = section.first, section.seats_per_row + 1
    window: deque[tuple[int, int]] = deque()
    lengths = [0] * quantity
    total = 0
    for match in run_pattern(smallest).finditer(buffer, first, section.end):
        start, end = match.span()
        row, length = (start - first) // stride, end - start
        window.append((row, length))
        lengths[length] += 1
        total += length
        while total >= quantity:
            begin, dropped = window[0]
            if row - begin < nearest:
                if not _has_enough(lengths, pieces, quantity):
                    break
                nearest = row - begin
                found = _Rows(pieces, nearest, section, begin)
                least = least or (nearest and _least_span(buffer, section, pieces, smallest))
                if nearest == least:
                    return found
            window.popleft()
            lengths[dropped] -= 1
            total -= dropped
    return found


def _single_row(buffer: bytearray, section: Section, pieces: int, quantity: int) -> int | None:
    """Return the front-most row with `quantity` seats in `pieces` pieces, if one of the pieces has at least two seats.

    Few rows have a piece that is long enough, so this is faster than looking at all runs.
    """
    longest = -(-quantity // pieces)
    if longest == 1:
        return None
    first, stride = section.first, section.seats_per_row + 1
    previous = -1
    for match in run_pattern(longest).finditer(buffer, first, section.end):
        if (row := (match.start() - first) // stride) == previous:
            continue
        previous, start = row, first + row * stride
        lengths = sorted(map(len, run_pattern(1).findall(buffer, start, start + stride)), reverse=True)
        if sum(lengths[:pieces]) >= quantity:
            return row
    return None


def _least_span(buffer: bytearray, section: Section, pieces: int, smallest: int) -> int:
    """Return a number of rows that is at most that between `pieces` runs of at least the smallest length, enough or not."""
    first, stride = section.first, section.seats_per_row + 1
    if smallest == 1:  # there are at most as many runs as seats, which are counted faster
        free = buffer[first : section.end].translate(None, _NOT_FREE).split(b"\n")
        rows = [row for row, seats in enumerate(free) for _ in seats]
        return min(map(sub, rows[pieces - 1 :], rows), default=section.rows)
    rows = [(each.start() - first) // stride for each in run_pattern(smallest).finditer(buffer, first, section.end)]
    return min(map(sub, rows[pieces - 1 :], rows), default=section.rows)


def _runs(buffer: bytearray, start: int, end: int, section: Section, *, at_least: int) -> Iterable[_Run]:
    stride = section.seats_per_row + 1
    for match in run_pattern(at_least).finditer(buffer, start, end):
        first = match.start()
        yield _Run((first - section.first) // stride, first, match.end() - first)


def _runs_by_length(buffer: bytearray, section: Section, available: int, quantity: int) -> dict[int, int]:
    """Return the number of runs of each length, longest first. All are shorter than `quantity`."""
    if quantity > _FEW:
        lengths = Counter(map(len, run_pattern(1).findall(buffer, section.first, section.end)))
        return dict(sorted(lengths.items(), reverse=True))
    if buffer.find(b"FF", section.first, section.end) < 0:
        return {1: available}
    numbers: dict[int, int] = {}
    for length in range(quantity - 1, 0, -1):
        # Each run contains its length divided by `length` such blocks; the longer runs are known.
        blocks = available if length == 1 else buffer.count(b"F" * length, section.first, section.end)
        numbers[length] = blocks - sum(number * (longer // length) for longer, number in numbers.items())
    return numbers


def _pieces_needed(numbers: dict[int, int], quantity: int) -> tuple[int, int]:
    """Return the fewest runs that have `quantity` seats, and the smallest length that one of them can have."""
    pieces = 0
    missing = quantity
    for length, number in numbers.items():
        needed = -(-missing // length)
        if needed <= number:
            return pieces + needed, missing - (needed - 1) * length
        pieces += number
        missing -= number * length
    raise ValueError("The section has fewer seats")


def _has_enough(lengths: Sequence[int], pieces: int, quantity: int) -> bool:
    """Return whether the `pieces` longest runs have `quantity` seats. `lengths` has the number of runs by length."""
    left = pieces
    missing = quantity
    for length in range(quantity - 1, 0, -1):
        if number := lengths[length]:
            taken = min(number, left)
            left -= taken
            missing -= taken * length
            if missing <= 0:
                return True
            if not left:
                return False
    return False


def _in_rows(buffer: bytearray, rows: _Rows, quantity: int) -> tuple[int, ...]:
    """Return the seats in these rows within the smallest range of seat numbers that begins where a run begins."""
    section = rows.section
    stride = section.seats_per_row + 1
    start = section.first + rows.first * stride
    runs = [
        (each, (each.start - section.first) % stride)
        for each in _runs(buffer, start, start + (rows.span + 1) * stride, section, at_least=1)
    ]

    def clipped(left: int, right: int) -> list[_Run]:
        parts = []
        for run, column in runs:
            first, last = max(left, column), min(right, column + run.length)
            if first < last:
                parts.append(_Run(run.row, run.start + first - column, last - first))
        return sorted(parts, key=attrgetter("length"), reverse=True)[: rows.pieces]

    by_column = sorted((column, column + run.length) for run, column in runs)
    columns = [column for column, _ in by_column]

    def is_enough(left: int, right: int) -> bool:
        # Each run is shorter than `quantity`, so one that begins further left is not in the range.
        some = by_column[bisect_right(columns, left - quantity) : bisect_left(columns, right)]
        lengths = [min(right, end) - max(left, begin) for begin, end in some if end > left]
        return sum(lengths) >= quantity and sum(sorted(lengths, reverse=True)[: rows.pieces]) >= quantity

    width = section.seats_per_row + 1
    chosen = 0
    for left in sorted({column for _, column in runs}):
        low, high = 0, width - 1  # a range of `high` numbers is to be enough, one of `low` is not
        if not is_enough(left, left + high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_enough(left, left + middle) else (middle, high)
        width, chosen = high, left
    pieces = clipped(chosen, chosen + width)
    excess = sum(each.length for each in pieces) - quantity
    pieces[-1] = pieces[-1]._replace(length=pieces[-1].length - excess)
    return tuple(sorted(index for each in pieces for index in range(each.start, each.start + each.length)))
