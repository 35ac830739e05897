"""The history of a seat, from the journal of changes and the holds that it names."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import Reader, UserId
from portico.services.seating.errors import EventNotFound, SeatNotFound
from portico.services.seating.holds.locked_show import part_of
from portico.services.seating.holds.repository import HOLDS
from portico.services.seating.repository import CHANGES, COUNTS_OF_SHOW, layout_of


@dataclass(frozen=True, slots=True)
class SeatChange:
    """A change of a seat, and whose hold it belongs to."""

    state: str
    reason: str
    hold_id: HoldId | None
    user_id: UserId | None
    booking_id: str | None
    changed_at: datetime


async def history_of_seat(reader: Reader, show_id: ShowId, seat_id: str, *, limit: int) -> list[SeatChange]:
    """Return the last changes of a seat, newest first. Raises EventNotFound, SeatNotFound."""
    sections = await reader.rows(COUNTS_OF_SHOW, {"show_id": show_id})
    if not sections:
        raise EventNotFound(event_id=show_id)
    layout = layout_of(sections, sections[0].currency)
    index = layout.index_of(seat_id)
    if index is None:
        raise SeatNotFound(seat_id=seat_id)
    section = layout.section_of(index)
    of_part = select(CHANGES.c.changes, CHANGES.c.changed_at).where(
        CHANGES.c.show_id == show_id, CHANGES.c.part == part_of(section, section.place(index)[0])
    )
    rows = await reader.rows(of_part.order_by(CHANGES.c.version.desc()))
    found = [
        (state, hold_id, reason, row.changed_at)
        for row in rows
        for place, state, hold_id, reason in reversed(row.changes)
        if place == seat_id
    ][:limit]
    holds = await _owners(reader, {hold_id for _, hold_id, _, _ in found if hold_id is not None})
    changes = []
    for state, hold_id, reason, changed_at in found:
        owner = holds.get(hold_id)
        user_id, booking_id = (None, None) if owner is None else (owner.user_id, owner.booking_id)
        changes.append(SeatChange(state, reason, hold_id, user_id, booking_id, changed_at))
    return changes


async def _owners(reader: Reader, hold_ids: set[str]) -> dict[str, Any]:
    if not hold_ids:
        return {}
    statement = select(HOLDS.c.hold_id, HOLDS.c.user_id, HOLDS.c.booking_id)
    return {row.hold_id: row for row in await reader.rows(statement.where(HOLDS.c.hold_id.in_(sorted(hold_ids))))}
