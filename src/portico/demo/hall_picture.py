"""Pictures of a hall from its seat map: for the terminal, and as SVG."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from rich.table import Table
from rich.text import Text

SeatMap = Mapping[str, Any]
"""The JSON of `GET /api/inventory/{eventId}/seats`."""

COLOURS: Final = {"F": "#3a7d44", "H": "#e0a100", "S": "#2b59c3", "B": "#555555"}
NAMES: Final = {"F": "free", "H": "held", "S": "sold", "B": "blocked"}

_UPPER_HALF: Final = "▀"
_SECTIONS_ABREAST: Final = 2
_SEAT: Final = 8  # pixels from one seat to the next in the SVG
_SIZE: Final = 6  # pixels of a seat
_GAP: Final = 24  # pixels between sections, with room for a name
_EMPTY: Final = " "


def terminal_picture(seat_map: SeatMap) -> Table:
    """Return the hall as text: a character shows two rows of a section, two sections stand side by side."""
    table = Table.grid(padding=(0, 2))
    pictures = [_section_text(section) for section in seat_map["sections"]]
    for start in range(0, len(pictures), _SECTIONS_ABREAST):
        table.add_row(*pictures[start : start + _SECTIONS_ABREAST])
    return table


def svg_picture(seat_map: SeatMap, title: str) -> str:
    """Return the hall as an SVG document, a square for each seat, with a legend."""
    bodies: list[str] = []
    top, width = _GAP, 0
    for section in seat_map["sections"]:
        bodies.append(f'<text x="{_SEAT}" y="{top - _SIZE}">{escape(section["section"])}</text>')
        rows = _rows_of(section)
        bodies += [_squares(rows, state, top) for state in COLOURS if any(state in row for row in rows)]
        top += len(rows) * _SEAT + _GAP
        width = max(width, *(len(row) for row in rows))
    legend = "".join(
        f'<tspan fill="{COLOURS[state]}" dx="8">■</tspan><tspan> {name}</tspan>' for state, name in NAMES.items()
    )
    width = max(width * _SEAT + 2 * _SEAT, 320)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + _SEAT}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(bodies)}'
        f'<text x="0" y="{top}">{legend}</text></svg>\n'
    )


def counts_of(seat_map: SeatMap) -> dict[str, int]:
    """Return the number of seats in each state. Standing sections are not counted."""
    states = "".join(row["states"] for section in seat_map["sections"] for row in section.get("rows") or ())
    return {state: states.count(state) for state in COLOURS}


def _section_text(section: Mapping[str, Any]) -> Text:
    rows = _rows_of(section)
    text = Text(f"{section['section']}\n", style="bold", no_wrap=True)
    for upper, lower in zip(rows[::2], [*rows[1::2], ""], strict=False):
        for column, state in enumerate(upper):
            below = lower[column] if column < len(lower) else _EMPTY
            background = f" on {COLOURS[below]}" if below in COLOURS else ""
            text.append(_UPPER_HALF, style=f"{COLOURS.get(state, 'default')}{background}")
        text.append("\n")
    return text


def _rows_of(section: Mapping[str, Any]) -> list[str]:
    """Return the states of a section's rows. A standing section is one row of up to fifty places in proportion."""
    if section.get("rows"):
        return [row["states"] for row in section["rows"]]
    capacity = section["capacity"]
    shown = min(capacity, 50)
    free = -(-section["available"] * shown // capacity)
    return ["S" * (shown - free) + "F" * free]


def _squares(rows: Iterable[str], state: str, top: int) -> str:
    squares = (
        f"M{_SEAT + column * _SEAT} {top + number * _SEAT}h{_SIZE}v{_SIZE}h-{_SIZE}z"
        for number, row in enumerate(rows)
        for column, each in enumerate(row)
        if each == state
    )
    return f'<path fill="{COLOURS[state]}" d="{"".join(squares)}"/>'
