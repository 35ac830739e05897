from xml.etree import ElementTree as ET

from rich.console import Console

from portico.demo.hall_picture import COLOURS, counts_of, svg_picture, terminal_picture

SVG = "{http://www.w3.org/2000/svg}"
HALL = {
    "sections": [
        {"section": "Stalls <1>", "rows": [{"row": "A", "states": "FFHS"}, {"row": "B", "states": "SSBF"}]},
        {"section": "Floor", "capacity": 200, "available": 50},
    ]
}


def parsed(document: str) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314  # the document is our own


class TestCounts:
    def test_are_those_of_the_seats(self) -> None:
        assert counts_of(HALL) == {"F": 3, "H": 1, "S": 3, "B": 1}


class TestSvg:
    def test_has_a_square_for_each_seat_in_the_colour_of_its_state(self) -> None:
        root = parsed(svg_picture({"sections": HALL["sections"][:1]}, "The hall"))

        squares = {path.get("fill"): path.get("d", "").count("z") for path in root.iter(f"{SVG}path")}

        assert squares == {COLOURS["F"]: 3, COLOURS["H"]: 1, COLOURS["S"]: 3, COLOURS["B"]: 1}

    def test_escapes_names(self) -> None:
        root = parsed(svg_picture(HALL, "Rock & <Roll>"))

        assert [element.text for element in root.iter(f"{SVG}title")] == ["Rock & <Roll>"]
        assert [element.text for element in root.iter(f"{SVG}text")][:2] == ["Stalls <1>", "Floor"]


class TestTerminal:
    def test_shows_two_rows_in_a_line_and_standing_sections_in_proportion(self) -> None:
        console = Console(width=100, file=None, record=True, force_terminal=True)
        with console.capture() as captured:
            console.print(terminal_picture(HALL))

        lines = captured.get().splitlines()
        assert len(lines) >= 2
        assert lines[1].count("▀") == 4 + 50
