"""Small halls for the tests of choices: drawn as text, or generated."""

from hypothesis import strategies as st

from portico.contracts.events import SectionPlan
from portico.services.seating.hall.layout import Layout, row_name
from portico.services.seating.hall.places import STATES, Places, Selection

FREE = frozenset("Ff")


def hall(*sections: str | int) -> Places:
    """Return a hall as it is drawn.

    A seated section is its rows, separated by blanks: F, H, S, B and, for a free accessible seat, f. A standing section is
    its number of free places; it has 10 places.
    """
    plans = []
    for number, drawn in enumerate(sections, 1):
        if isinstance(drawn, int):
            plans.append(SectionPlan(name=str(number), capacity=10))
        else:
            rows = drawn.split()
            plans.append(
                SectionPlan(
                    name=str(number),
                    rows=len(rows),
                    seats_per_row=len(rows[0]),
                    accessible=tuple(
                        f"{row_name(row)}-{seat + 1}"
                        for row, states in enumerate(rows)
                        for seat, state in enumerate(states)
                        if state == "f"
                    ),
                )
            )
    layout = Layout.of(plans)
    places = Places.empty(layout)
    for section, drawn in zip(layout.sections, sections, strict=True):
        if isinstance(drawn, int):
            places.change(Selection(standing={section.number: 10 - drawn}), "F", "S")
            continue
        for state in STATES[1:]:
            offset = section.first
            places.change(Selection(tuple(offset + at for at, each in enumerate(drawn) if each == state)), "F", state)
    return places


def ids(places: Places, selection: Selection) -> list[str]:
    """Return the ids of the selected seats."""
    return [places.layout.seat_id(each) for each in selection.seats]


@st.composite
def drawn_sections(draw: st.DrawFn, letters: str = "FFFFSSSHBf") -> str:
    seats, rows = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    row = st.text(letters, min_size=seats, max_size=seats)
    return " ".join(draw(st.lists(row, min_size=rows, max_size=rows)))


halls = st.lists(st.one_of(drawn_sections(), drawn_sections("FSSS"), st.integers(0, 4)), min_size=1, max_size=3)
