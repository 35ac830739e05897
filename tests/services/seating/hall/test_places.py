from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from portico.contracts.events import SectionPlan
from portico.services.seating.errors import NotEnoughSeats, SeatsInUse, SeatTaken
from portico.services.seating.hall.layout import Layout
from portico.services.seating.hall.places import STATES, Counts, Places, Selection, State

STALLS = SectionPlan(name="Stalls", rows=2, seats_per_row=3, accessible=("A-1",))
STANDING = SectionPlan(name="Standing", capacity=5)
BALCONY = SectionPlan(name="Balcony", rows=1, seats_per_row=2)
LAYOUT = Layout.of([STALLS, STANDING, BALCONY])
SEATS = list(LAYOUT.indexes())
states = st.sampled_from(STATES)


def seats(*seat_ids: str) -> Selection:
    return Selection(tuple(LAYOUT.indexes_of(seat_ids)))


def standing(quantity: int) -> Selection:
    return Selection(standing={2: quantity})


class ChangesOfPlaces(RuleBasedStateMachine):
    """Changes of places, beside a dictionary of seats and a counter of standing places."""

    def __init__(self) -> None:
        super().__init__()
        self.places = Places.empty(LAYOUT)
        self.seats: dict[int, State] = dict.fromkeys(SEATS, "F")
        self.standing: Counter[State] = Counter({"F": 5})

    @rule(chosen=st.sets(st.sampled_from(SEATS), max_size=4), quantity=st.integers(0, 4), source=states, to=states)
    def change(self, chosen: set[int], quantity: int, source: State, to: State) -> None:
        selection = Selection(tuple(sorted(chosen)), {2: quantity} if quantity else {})
        possible = all(self.seats[each] == source for each in chosen) and self.standing[source] >= quantity

        if possible:
            self.places.change(selection, source, to)
            self.seats.update(dict.fromkeys(chosen, to))
            self.standing[source] -= quantity
            self.standing[to] += quantity
        else:
            with pytest.raises((SeatTaken, NotEnoughSeats) if source == "F" else ValueError):
                self.places.change(selection, source, to)

    @rule()
    def store(self) -> None:
        self.places = Places.load(LAYOUT, self.places.dump())

    @rule()
    def move_to_a_larger_hall_and_back(self) -> None:
        larger = Layout.of(
            [
                SectionPlan(name="Stalls", rows=4, seats_per_row=7),
                SectionPlan(name="Standing", capacity=50),
                BALCONY,
                SectionPlan(name="New", rows=1, seats_per_row=1),
            ]
        )
        moved = self.places.resized(larger)
        for index in SEATS:
            found = LAYOUT.index_in(larger, index)
            assert found is not None
            assert moved.state(found) == self.seats[index]
        assert moved.counts().total == larger.places
        assert moved.counts()[1:] == self.places.counts()[1:]
        self.places = moved.resized(LAYOUT)

    @invariant()
    def states_and_counts_agree(self) -> None:
        assert {each: self.places.state(each) for each in SEATS} == self.seats
        assert self.places.counts(LAYOUT.sections[1]) == tuple(self.standing[each] for each in STATES)
        by_state = Counter(self.seats.values()) + self.standing
        assert self.places.counts() == tuple(by_state[each] for each in STATES)
        for section in LAYOUT.seated:
            rows = Counter("".join(self.places.rows(section)))
            assert self.places.counts(section) == tuple(rows[each] for each in STATES)
        free = {each for each in LAYOUT.sections[0].accessible if self.seats[each] == "F"}
        assert {each for each in SEATS if self.places.buffer[each] == ord("f")} == free


TestChangesOfPlaces = ChangesOfPlaces.TestCase


class TestChange:
    def test_takes_all_places_or_none(self) -> None:
        places = Places.empty(LAYOUT)
        places.change(seats("1-A-2"), "F", "S")

        with pytest.raises(SeatTaken) as raised:
            places.change(seats("1-A-1", "1-A-2", "1-A-3"), "F", "H")

        assert raised.value.seats == ["1-A-2"]
        assert places.rows(LAYOUT.sections[0]) == ["FSF", "FFF"]

    def test_takes_no_seat_if_a_standing_section_has_too_few_places(self) -> None:
        places = Places.empty(LAYOUT)

        with pytest.raises(NotEnoughSeats) as raised:
            places.change(Selection(seats("1-A-1").seats, {2: 6}), "F", "H")

        assert (raised.value.requested, raised.value.available) == (6, 5)
        assert places.counts() == Counts(13, 0, 0, 0)

    def test_refuses_places_that_are_not_in_the_expected_state(self) -> None:
        places = Places.empty(LAYOUT)

        with pytest.raises(ValueError, match="1-A-1"):
            places.change(seats("1-A-1"), "H", "S")
        with pytest.raises(ValueError, match="Section 2"):
            places.change(standing(1), "H", "S")


class TestBlocks:
    def test_block_and_free_seats_and_are_safe_to_repeat(self) -> None:
        places = Places.empty(LAYOUT)
        chosen = seats("1-A-1", "1-A-2").seats

        assert places.block(chosen) == list(chosen)
        assert places.block(chosen) == []
        assert places.rows(LAYOUT.sections[0]) == ["BBF", "FFF"]
        assert places.unblock(chosen[:1]) == list(chosen[:1])
        assert places.unblock(chosen[:1]) == []
        assert places.counts() == Counts(12, 0, 0, 1)

    @pytest.mark.parametrize("state", ["H", "S"])
    def test_leave_seats_that_are_held_or_sold(self, state: State) -> None:
        places = Places.empty(LAYOUT)
        places.change(seats("1-A-2"), "F", state)

        for change in (places.block, places.unblock):
            with pytest.raises(SeatTaken) as raised:
                change(seats("1-A-1", "1-A-2").seats)
            assert raised.value.seats == ["1-A-2"]
        assert places.counts().blocked == 0


class TestResized:
    @pytest.mark.parametrize(
        "plans",
        [
            [STALLS],
            [SectionPlan(name="Stalls", rows=1, seats_per_row=3), STANDING, BALCONY],
            [SectionPlan(name="Stalls", rows=2, seats_per_row=2), STANDING, BALCONY],
            [SectionPlan(name="Stalls", capacity=600), STANDING, BALCONY],
        ],
    )
    @pytest.mark.parametrize("state", ["H", "S", "B"])
    def test_keeps_seats_in_use(self, plans: list[SectionPlan], state: State) -> None:
        places = Places.empty(LAYOUT)
        lost = "3-A-1" if plans == [STALLS] else "1-B-3"
        places.change(seats(lost), "F", state)

        with pytest.raises(SeatsInUse) as raised:
            places.resized(Layout.of(plans))

        assert raised.value.seats == [lost]

    @pytest.mark.parametrize(
        "plan", [SectionPlan(name="Standing", capacity=2), SectionPlan(name="S", rows=9, seats_per_row=9)]
    )
    def test_keeps_standing_places_in_use(self, plan: SectionPlan) -> None:
        places = Places.empty(LAYOUT)
        places.change(standing(3), "F", "S")

        with pytest.raises(SeatsInUse) as raised:
            places.resized(Layout.of([STALLS, plan, BALCONY]))

        assert raised.value.used == 3

    def test_removes_places_that_are_free(self) -> None:
        places = Places.empty(LAYOUT)
        places.change(standing(3), "F", "S")

        resized = places.resized(
            Layout.of([SectionPlan(name="Stalls", rows=1, seats_per_row=1), SectionPlan(name="Standing", capacity=3)])
        )

        assert resized.counts() == Counts(1, 0, 3, 0)


class TestStorage:
    def test_refuses_the_states_of_another_layout(self) -> None:
        stored = Places.empty(Layout.of([STALLS])).dump()

        with pytest.raises(ValueError, match="bytes"):
            Places.load(LAYOUT, stored)

    @given(st.integers(0, 5))
    def test_keeps_standing_places(self, sold: int) -> None:
        places = Places.empty(LAYOUT)
        places.change(standing(sold), "F", "S")

        assert Places.load(LAYOUT, places.dump()).counts(LAYOUT.sections[1]) == Counts(5 - sold, 0, sold, 0)
