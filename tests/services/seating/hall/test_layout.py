import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.contracts.events import SectionPlan
from portico.services.seating.errors import UnknownSeat, UnknownSection
from portico.services.seating.hall.layout import Layout, row_name, row_number

LAYOUT = Layout.of(
    [
        SectionPlan(name="Stalls", rows=2, seats_per_row=3, accessible=("A-1", "B-3")),
        SectionPlan(name="Standing", capacity=100),
        SectionPlan(name="Balcony", rows=30, seats_per_row=2),
    ]
)
plans = st.lists(
    st.one_of(
        st.builds(SectionPlan, name=st.just("seated"), rows=st.integers(1, 40), seats_per_row=st.integers(1, 9)),
        st.builds(SectionPlan, name=st.just("standing"), capacity=st.integers(1, 50)),
    ),
    min_size=1,
    max_size=4,
)


class TestRowNames:
    @pytest.mark.parametrize(
        ("row", "name"), [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (701, "ZZ"), (702, "AAA")]
    )
    def test_follow_the_alphabet(self, row: int, name: str) -> None:
        assert row_name(row) == name

    @given(st.integers(0, 200_000))
    def test_name_one_row_each(self, row: int) -> None:
        assert row_number(row_name(row)) == row


class TestSeatIds:
    def test_name_section_row_and_number(self) -> None:
        assert [LAYOUT.seat_id(index) for index in list(LAYOUT.indexes())[:7]] == [
            "1-A-1", "1-A-2", "1-A-3", "1-B-1", "1-B-2", "1-B-3", "3-A-1",
        ]  # fmt: skip
        assert LAYOUT.seat_id(list(LAYOUT.indexes())[-1]) == "3-AD-2"

    @given(plans)
    def test_name_one_seat_each(self, sections: list[SectionPlan]) -> None:
        layout = Layout.of(sections)

        indexes = list(layout.indexes())

        assert [layout.index_of(layout.seat_id(index)) for index in indexes] == indexes
        assert len(indexes) == sum(each.places for each in sections if each.capacity is None)
        assert all(0 < index < layout.size for index in indexes)

    @pytest.mark.parametrize(
        "seat_id",
        [
            "", "1-A", "1-A-0", "1-A-4", "1-C-1", "0-A-1", "4-A-1", "2-A-1", "1-a-1", "01-A-1", "1-A-01", "1-A-1 ", "1-A-1\n",
            "-1-A-1", "1-A-\u0661", "1--1", "1-AAAAAAAAAA-1", "1-A-" + "9" * 5000, "9" * 5000 + "-A-1",
        ],
    )  # fmt: skip
    def test_of_no_seat_are_not_found(self, seat_id: str) -> None:
        assert LAYOUT.index_of(seat_id) is None

    def test_unknown_ones_are_named(self) -> None:
        with pytest.raises(UnknownSeat) as raised:
            LAYOUT.indexes_of(["1-A-1", "1-C-1", "x"])

        assert raised.value.seats == ["1-C-1", "x"]


class TestSections:
    def test_of_seats_that_are_side_by_side_have_consecutive_indexes_in_a_row_only(self) -> None:
        first, second, third, fourth = LAYOUT.indexes_of(["1-A-1", "1-A-2", "1-A-3", "1-B-1"])

        assert [second - first, third - second] == [1, 1]
        assert fourth - third > 1

    def test_are_found_by_name(self) -> None:
        assert LAYOUT.section("Standing").number == 2
        with pytest.raises(UnknownSection):
            LAYOUT.section("standing")

    def test_have_accessible_seats(self) -> None:
        assert {LAYOUT.seat_id(each) for each in LAYOUT.sections[0].accessible} == {"1-A-1", "1-B-3"}

    def test_add_up_to_the_places_of_the_hall(self) -> None:
        assert LAYOUT.places == 6 + 100 + 60

    def test_cannot_have_accessible_seats_that_do_not_exist(self) -> None:
        with pytest.raises(UnknownSeat) as raised:
            Layout.of([SectionPlan(name="A", rows=2, seats_per_row=2, accessible=("B-2", "B-3", "x"))])

        assert raised.value.seats == ["1-B-3", "1-x"]


class TestOtherLayouts:
    def test_keep_the_seats_of_a_section_that_grows(self) -> None:
        larger = Layout.of(
            [
                SectionPlan(name="Stalls", rows=3, seats_per_row=5),
                SectionPlan(name="Standing", capacity=10),
                SectionPlan(name="Balcony", rows=2, seats_per_row=2),
            ]
        )

        def moved(seat_id: str) -> str | None:
            index = LAYOUT.index_in(larger, LAYOUT.indexes_of([seat_id])[0])
            return None if index is None else larger.seat_id(index)

        assert moved("1-B-3") == "1-B-3"
        assert moved("3-B-2") == "3-B-2"
        assert moved("3-C-1") is None

    def test_without_the_section_have_none_of_its_seats(self) -> None:
        smaller = Layout.of([SectionPlan(name="Stalls", rows=2, seats_per_row=3)])

        assert LAYOUT.index_in(smaller, LAYOUT.indexes_of(["3-A-1"])[0]) is None
