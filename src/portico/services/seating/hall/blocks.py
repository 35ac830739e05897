"""Blocks of free seats side by side in a row, and the single free seats that a choice leaves.

All functions read the bytes of `Places.buffer`. A seat is single if it is free and no seat beside it is. Accessible seats
count as free there, but they are in no block.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final

from portico.services.seating.hall.layout import Section

_FREE: Final = frozenset(b"Ff")
_FREE_OR_NOT: Final = bytes(each if each in _FREE else ord(".") for each in range(256))
_ROWS_SEARCHED_FIRST: Final = 8
_LITERAL: Final = 32  # a pattern that begins with letters is searched for fast


@lru_cache(maxsize=256)
def block_pattern(size: int) -> re.Pattern[bytes]:
    """Return the pattern of `size` free seats side by side."""
    return re.compile(_block(size))


@lru_cache(maxsize=256)
def clean_block_pattern(size: int) -> re.Pattern[bytes]:
    """Return the pattern of `size` free seats side by side that leave no single seat if they are taken."""
    return re.compile(b"%s(?![Ff][^Ff])(?<![^Ff][Ff]%s)" % (_block(size), _block(size)))


@lru_cache(maxsize=256)
def run_pattern(size: int) -> re.Pattern[bytes]:
    """Return the pattern of all free seats side by side, where they are at least `size`."""
    return re.compile(_block(size) + b"F*")


def _block(size: int) -> bytes:
    return b"F" * size if size <= _LITERAL else b"F" * _LITERAL + b"F{%d}" % (size - _LITERAL)


def find_block(buffer: bytearray, section: Section, size: int, begin: int) -> int | None:
    """Return the first seat of the first block of a section with seats, at or after `begin`."""
    found = buffer.find(b"F" * size, begin, section.end) if size <= section.seats_per_row else -1
    return None if found < 0 else found


def best_block(buffer: bytearray, section: Section, size: int, first: int, *, clean: bool) -> int | None:
    """Return the first seat of the block that is nearest the front of a section, then nearest the middle of its row.

    Args:
        buffer: the states of the seats.
        section: a section with seats.
        size: number of seats.
        first: the first block of the rows to search.
        clean: whether only blocks that leave no single seat count.
    """
    found = _first_clean_block(buffer, section, size, first) if clean else first
    if found is None:
        return None
    pattern = clean_block_pattern(size) if clean else block_pattern(size)
    return _nearest_middle(buffer, section.row_start(found), section.seats_per_row, size, pattern)


def _first_clean_block(buffer: bytearray, section: Section, size: int, first: int) -> int | None:
    """Return a seat of the front-most row with a block that leaves no single seat. None begins before `first`."""
    next_row = section.row_start(first) + section.seats_per_row + 1
    pattern = clean_block_pattern(size)
    match = pattern.search(buffer, first, next_row)
    if match is None and section.accessible:
        match = pattern.search(buffer, next_row, section.end)
    if match is not None or section.accessible:
        return None if match is None else match.start()
    # Without accessible seats, a clean block is a whole run, or a part of one that has at least two seats more. If many runs
    # have one seat more, plain searches for both are several times as fast as the pattern. A few rows are searched first,
    # then twice as many and so on: the next clean block is mostly near.
    block = b"F" * size
    begin, rows = next_row, _ROWS_SEARCHED_FIRST
    while begin < section.end:
        end = min(begin + rows * (section.seats_per_row + 1), section.end)
        some = buffer[begin - 1 : end].translate(_FREE_OR_NOT)
        whole, part = some.find(b".%s." % block), some.find(block + b"FF")
        found = [begin - 1 + each for each in (whole + 1, part) if each > 0]
        if found:
            return min(found)
        begin, rows = end, 2 * rows
    return None


def _nearest_middle(buffer: bytearray, start: int, seats: int, size: int, pattern: re.Pattern[bytes]) -> int:
    """Return the first seat of the block nearest the middle of the row that begins at `start` and has a block.

    The blocks left of the middle are searched for in the reversed row, so both searches end at the nearest one.
    """
    row = bytes(buffer[start - 1 : start + seats + 1])
    middle = (seats - size) // 2
    right = pattern.search(row, 1 + middle)
    left = pattern.search(row[::-1], 1 + seats - size - middle)
    choices = [
        each for each in (left and 1 + seats - size - left.start(), right and right.start() - 1) if each is not None
    ]
    return start + min(choices, key=lambda each: (abs(2 * each + size - seats), each))


def largest_block(buffer: bytearray, section: Section, below: int) -> int:
    """Return the size of the largest block of a section, which is known to be smaller than `below`."""
    for size in range(min(below - 1, section.seats_per_row), 0, -1):
        if buffer.find(b"F" * size, section.first, section.end) >= 0:
            return size
    return 0


def single_seats_left(buffer: bytearray, seats: Collection[int]) -> list[int]:
    """Return the seats that become single if these free seats are taken."""
    chosen = set(seats)

    def is_left(index: int) -> bool:
        return index not in chosen and buffer[index] in _FREE

    beside = {each + step for each in chosen for step in (-1, 1) if is_left(each + step)}
    return sorted(each for each in beside if not is_left(each - 1) and not is_left(each + 1))
