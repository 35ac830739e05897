from itertools import combinations
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.services.seating.hall.halls import FREE, hall, halls, ids

from portico.services.seating.errors import (
    AccessibleOnly,
    LeavesSingleSeat,
    NoAdjacentSeats,
    NotEnoughSeats,
    SeatTaken,
)
from portico.services.seating.hall.choice import best_available, check_chosen
from portico.services.seating.hall.layout import Section
from portico.services.seating.hall.places import Places, Selection, State


def chosen(places: Places, quantity: int, *, together: bool = False, accessible: bool = False) -> list[str]:
    return ids(places, best_available(places, quantity, together=together, accessible=accessible))


class Block(NamedTuple):
    """Free seats side by side, as the reference finds them."""

    leaves_single: bool
    section: int
    row: int
    from_middle: int
    first: int


def text_of(places: Places) -> str:
    return places.buffer.decode()


def singles(text: str) -> set[int]:
    """Return the positions of free seats without a free seat beside them."""
    return {
        at for at, each in enumerate(text) if each in FREE and text[at - 1] not in FREE and text[at + 1] not in FREE
    }


def leaves_single(text: str, seats: range | list[int]) -> bool:
    taken = "".join("S" if at in seats else each for at, each in enumerate(text))
    return bool(singles(taken) - singles(text))


def blocks(places: Places, section: Section, quantity: int, accessible: int = 0) -> list[Block]:
    """Return all blocks of this size with this number of accessible seats."""
    text = text_of(places)
    found = []
    for row in range(section.rows):
        start = section.first + row * (section.seats_per_row + 1)
        for first in range(start, start + section.seats_per_row - quantity + 1):
            states = text[first : first + quantity]
            if set(states) <= FREE and states.count("f") == accessible:
                from_middle = abs(2 * (first - start) + quantity - section.seats_per_row)
                single = leaves_single(text, range(first, first + quantity))
                found.append(Block(single, section.number, row, from_middle, first))
    return found


def best_block(places: Places, quantity: int, accessible: int = 0) -> Selection | None:
    found: list[Block] = []
    for section in places.layout.sections:
        if section.is_standing:
            if not accessible and places.counts(section).available >= quantity:
                found.append(Block(False, section.number, 0, 0, 0))
        else:
            found += blocks(places, section, quantity, accessible)
    if not found:
        return None
    best = min(found)
    if not best.first:
        return Selection(standing={best.section: quantity})
    return Selection(tuple(range(best.first, best.first + quantity)))


def runs(places: Places, section: Section) -> list[range]:
    found, start = [], section.first
    for at in range(section.first, section.end):
        if places.buffer[at] != ord("F"):
            if at > start:
                found.append(range(start, at))
            start = at + 1
    return found


def choosable(places: Places) -> int:
    standing = sum(places.counts(each).available for each in places.layout.sections if each.is_standing)
    return places.buffer.count(b"F") + standing


class Pieces(NamedTuple):
    number: int
    rows: int
    section: int
    first_row: int


def fewest_pieces(places: Places, quantity: int) -> Pieces | None:
    """Return the fewest pieces in one section, nearest together, by trying all combinations."""
    found = []
    for section in places.layout.seated:
        for number in range(1, quantity + 1):
            for each in combinations(runs(places, section), number):
                if sum(map(len, each)) >= quantity:
                    rows = [section.place(run.start)[0] for run in each]
                    found.append(Pieces(number, rows[-1] - rows[0], section.number, rows[0]))
            if found and found[-1].section == section.number:
                break
    return min(found, default=None)


def pieces_of(seats: tuple[int, ...]) -> int:
    return sum(each - 1 not in seats for each in seats)


def width(places: Places, seats: tuple[int, ...]) -> int:
    section = places.layout.section_of(seats[0])
    numbers = [section.place(each)[1] for each in seats]
    return max(numbers) - min(numbers) + 1


class TestBestAvailable:
    @settings(max_examples=500, deadline=None)
    @given(drawn=halls, quantity=st.integers(1, 6), together=st.booleans())
    def test_is_that_of_all_blocks_or_else_the_fewest_pieces(
        self, *, drawn: list[str | int], quantity: int, together: bool
    ) -> None:
        places = hall(*drawn)
        block = best_block(places, quantity)

        if choosable(places) < quantity:
            with pytest.raises(NotEnoughSeats) as refused:
                best_available(places, quantity, together=together)
            assert refused.value.available == choosable(places)
        elif block is not None:
            assert best_available(places, quantity, together=together) == block
        elif together:
            with pytest.raises(NoAdjacentSeats) as too_large:
                best_available(places, quantity, together=True)
            largest = max(size for size in range(quantity) if not size or best_block(places, size))
            assert too_large.value.largest_block == largest
        else:
            self.check_pieces(places, best_available(places, quantity), quantity)

    def check_pieces(self, places: Places, selection: Selection, quantity: int) -> None:
        assert selection.quantity == quantity
        assert not selection.is_adjacent
        places.change(selection, "F", "H")
        places.change(selection, "H", "F")
        best = fewest_pieces(places, quantity)
        if best is None:
            free = [len(run) for each in places.layout.seated for run in runs(places, each)]
            free += [places.counts(each).available for each in places.layout.sections if each.is_standing]
            number = pieces_of(selection.seats) + len(selection.standing)
            assert sum(sorted(free)[-number:]) >= quantity
            assert sum(sorted(free)[1 - number :]) < quantity or number == 1
            return
        rows = [places.layout.section_of(each).place(each)[0] for each in selection.seats]
        section = places.layout.section_of(selection.seats[0]).number
        assert Pieces(pieces_of(selection.seats), rows[-1] - rows[0], section, rows[0]) == best

    @settings(max_examples=300, deadline=None)
    @given(halls, st.integers(1, 4))
    def test_with_an_accessible_seat_is_that_of_all_blocks_with_one(
        self, drawn: list[str | int], quantity: int
    ) -> None:
        places = hall(*drawn)
        block = best_block(places, quantity, accessible=1)

        if block is not None:
            assert best_available(places, quantity, accessible=True) == block
        elif b"f" not in places.buffer:
            with pytest.raises(NotEnoughSeats):
                best_available(places, quantity, accessible=True)
        else:
            with pytest.raises(NoAdjacentSeats) as refused:
                best_available(places, quantity, accessible=True)
            largest = refused.value.largest_block
            assert best_block(places, largest, accessible=1) is not None
            assert all(best_block(places, size, accessible=1) is None for size in range(largest + 1, 9))

    @pytest.mark.parametrize(
        ("drawn", "quantity", "seats"),
        [
            (("FFFFFF FFFFFF",), 2, ["1-A-3", "1-A-4"]),
            (("FFFFFF FFFFFF",), 1, ["1-A-3"]),
            (("FFFFF",), 2, ["1-A-1", "1-A-2"]),  # the middle ones leave a single seat
            (("SFFSS FFFFF",), 2, ["1-A-2", "1-A-3"]),
            (("FFFS FFFF",), 2, ["1-B-1", "1-B-2"]),
            (("FFF", "FFFF"), 2, ["2-A-1", "2-A-2"]),  # the next section, rather than a single seat
            (("FFF", "FFF"), 2, ["1-A-1", "1-A-2"]),
            (("SFFF FFSS",), 2, ["1-B-1", "1-B-2"]),
            (("FSFSF FFSFF",), 3, ["1-B-1", "1-B-2", "1-B-4"]),
            (("FFSSSFF SSSSSSS FFSFFSS",), 4, ["1-A-1", "1-A-2", "1-A-6", "1-A-7"]),
            (("FFSSSSS SSSSSSS FFSSSSS SSSSSFF",), 4, ["1-C-1", "1-C-2", "1-D-6", "1-D-7"]),
            (("FSSSF FSSSS",), 2, ["1-A-1", "1-A-5"]),
            (("SSSFS FSSSF",), 3, ["1-A-4", "1-B-1", "1-B-5"]),
            (("fFFFf",), 3, ["1-A-2", "1-A-3", "1-A-4"]),
            (("fFFS FFSS",), 2, ["1-B-1", "1-B-2"]),  # the first pair leaves the accessible seat single
            (("FSF", "FFS"), 3, ["1-A-1", "2-A-1", "2-A-2"]),
        ],
    )
    def test_by_hand(self, drawn: tuple[str, ...], quantity: int, seats: list[str]) -> None:
        assert chosen(hall(*drawn), quantity) == seats

    def test_takes_a_standing_section_in_its_place(self) -> None:
        assert best_available(hall(3, "FF"), 2) == Selection(standing={1: 2})
        assert chosen(hall("FF", 3), 2) == ["1-A-1", "1-A-2"]
        assert best_available(hall("FFF", 3), 2) == Selection(standing={2: 2})

    def test_takes_seats_and_standing_places_if_no_section_has_enough(self) -> None:
        places = hall("FSF", 3)

        selection = best_available(places, 5)

        assert (ids(places, selection), selection.standing) == (["1-A-1", "1-A-3"], {2: 3})
        assert not selection.is_adjacent

    def test_of_one_section_is_in_that_section(self) -> None:
        places = hall("FFFF", "FFSF")
        second = places.layout.sections[1]

        assert ids(places, best_available(places, 3, section=second)) == ["2-A-1", "2-A-2", "2-A-4"]
        with pytest.raises(NotEnoughSeats) as refused:
            best_available(places, 4, section=second)
        assert (refused.value.requested, refused.value.available) == (4, 3)

    @settings(max_examples=300, deadline=None)
    @given(st.text("FFSS", min_size=3, max_size=12), st.integers(2, 6))
    def test_pieces_in_one_row_are_as_near_as_possible(self, row: str, quantity: int) -> None:
        places = hall(row)
        if row.count("F") < quantity or "F" * quantity in row:
            return
        seats = best_available(places, quantity).seats

        narrower = [
            each
            for each in combinations([at + 1 for at, state in enumerate(row) if state == "F"], quantity)
            if each[-1] - each[0] + 1 < width(places, seats) and pieces_of(each) <= pieces_of(seats)
        ]

        assert narrower == []

    def test_of_two_rows_takes_pieces_of_near_numbers(self) -> None:
        assert chosen(hall("FSSSSSSSFS SSSSSSSSFF"), 3) == ["1-A-9", "1-B-9", "1-B-10"]

    def test_takes_large_blocks_in_long_rows(self) -> None:
        places = hall("S" + "F" * 98 + "S")

        assert chosen(places, 98)[0] == "1-A-2"
        with pytest.raises(NoAdjacentSeats) as refused:
            best_available(hall("F" * 60 + "S" + "F" * 60), 100, together=True)
        assert refused.value.largest_block == 60
        assert best_available(hall("F" * 60 + "S" + "F" * 60), 100).quantity == 100


class TestChosenSeats:
    def check(self, drawn: str, *seats: str, refuse: bool = True) -> None:
        places = hall(drawn)
        check_chosen(places, places.layout.indexes_of(seats), "REFUSE" if refuse else "AVOID")

    @pytest.mark.parametrize(
        ("drawn", "seats", "left"),
        [
            ("FFFF", ["1-A-2"], ["1-A-1"]),
            ("FFFF", ["1-A-2", "1-A-3"], ["1-A-1", "1-A-4"]),
            ("SFFFFS", ["1-A-3", "1-A-4"], ["1-A-2", "1-A-5"]),
            ("FFFSFFF", ["1-A-1", "1-A-2", "1-A-5"], ["1-A-3"]),
            ("FFFSFFF", ["1-A-1", "1-A-3", "1-A-5"], ["1-A-2"]),
            ("FFFFFf", ["1-A-4", "1-A-5"], ["1-A-6"]),
        ],
    )
    def test_that_leave_a_single_seat_are_refused(self, drawn: str, seats: list[str], left: list[str]) -> None:
        with pytest.raises(LeavesSingleSeat) as refused:
            self.check(drawn, *seats)

        assert refused.value.seats == left
        self.check(drawn, *seats, refuse=False)

    @pytest.mark.parametrize(
        ("drawn", "seats"),
        [
            ("FFFF", ["1-A-1", "1-A-2"]),
            ("FFFF", ["1-A-1"]),
            ("FFF", ["1-A-1", "1-A-2"]),  # no pair leaves fewer
            ("FFFSFFF FFFFFFF", ["1-A-1", "1-A-2"]),  # the other row does not count
            ("FSFFF", ["1-A-3"]),  # the first seat was single before
            ("FFFS", ["1-A-1", "1-A-2", "1-A-3"]),
        ],
    )
    def test_are_accepted_without_another_choice_in_the_row(self, drawn: str, seats: list[str]) -> None:
        self.check(drawn, *seats)

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_are_refused_exactly_if_they_leave_a_single_seat_and_a_block_does_not(self, data: st.DataObject) -> None:
        row = data.draw(st.text("FFFSf", min_size=1, max_size=9).filter(lambda each: "F" in each))
        seats = sorted(
            data.draw(st.sets(st.sampled_from([at for at, each in enumerate(row) if each == "F"]), min_size=1))
        )
        places = hall(row)
        others = blocks(places, places.layout.sections[0], len(seats))
        taken = [places.layout.sections[0].first + each for each in seats]

        is_refused = leaves_single(text_of(places), taken) and any(not each.leaves_single for each in others)

        if is_refused:
            with pytest.raises(LeavesSingleSeat):
                check_chosen(places, taken, "REFUSE")
        else:
            check_chosen(places, taken, "REFUSE")
        check_chosen(places, taken, "AVOID")

    def test_that_are_taken_are_named(self) -> None:
        with pytest.raises(SeatTaken) as refused:
            self.check("FHSB", "1-A-1", "1-A-2", "1-A-3", "1-A-4")

        assert refused.value.seats == ["1-A-2", "1-A-3", "1-A-4"]

    def test_that_are_accessible_are_refused(self) -> None:
        with pytest.raises(AccessibleOnly) as refused:
            self.check("fFF", "1-A-1", "1-A-2", refuse=False)

        assert refused.value.seats == ["1-A-1"]


@given(
    st.lists(st.text("FFSSS", min_size=5, max_size=5), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 14), st.sampled_from("FFHS")), min_size=1, max_size=12),
)
@example(["FFHHH", "FFFFF", "FFFFF"], [(1, 2, "F"), (1, 2, "F")])
def test_a_choice_does_not_depend_on_earlier_choices(rows: list[str], steps: list[tuple[int, int, State]]) -> None:
    places = hall(" ".join(rows))
    indexes = list(places.layout.indexes())
    for quantity, changed, state in steps:
        chosen: list[Selection | None] = []
        for each in (places, Places.load(places.layout, places.dump())):
            try:
                chosen.append(best_available(each, quantity))
            except NotEnoughSeats:
                chosen.append(None)
        assert chosen[0] == chosen[1]
        if chosen[0] is not None:
            places.change(chosen[0], "F", "H")
        places.change(Selection((indexes[changed],)), places.state(indexes[changed]), state)
