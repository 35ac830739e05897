"""Seat maps as JSON: built once per version of a show, kept in memory, and sent compressed to clients that accept it."""

import asyncio
import gzip
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from portico.contracts.events import ShowId
from portico.kit import Money, Reader, ServiceContext
from portico.services.seating.errors import EventNotFound
from portico.services.seating.hall.layout import Section, row_name
from portico.services.seating.hall.places import Places
from portico.services.seating.repository import COUNTS_OF_SHOW, changes_since, layout_of, states_of, versions_of
from portico.services.seating.schemas import RowMapRead, SeatChangesRead, SeatMapRead, SectionMapRead, StandingRead
from portico.services.seating.settings import SeatingSettings

_COMPRESSION: Final = 6
_MAX_CHANGES: Final = 2_000  # rows of the journal; more changes cost more than the whole map


@dataclass(frozen=True, slots=True)
class SeatMap:
    """The map of a show at a version, as JSON."""

    version: int
    body: bytes
    compressed: bytes


class SeatMaps:
    """The newest seat maps of the shows that were asked for.

    Args:
        context: the service.
        limit: maximum number of maps that are kept; the least recently used ones are dropped.
    """

    def __init__(self, context: ServiceContext, *, limit: int) -> None:
        self._context = context
        self._limit = limit
        self._maps: OrderedDict[ShowId, SeatMap] = OrderedDict()
        self._locks: defaultdict[ShowId, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def current(self, reader: Reader, show_id: ShowId) -> SeatMap:
        """Return the current map. Of several concurrent callers one builds it. Raises EventNotFound."""
        version, _ = await versions_of(reader, show_id)
        if (found := self._find(show_id, version)) is not None:
            return found
        lock = self._locks[show_id]
        try:
            async with lock:
                if (found := self._find(show_id, version)) is not None:
                    return found
                built = self._maps[show_id] = await self._build(reader, show_id)
                if len(self._maps) > self._limit:
                    self._maps.popitem(last=False)
                return built
        finally:
            if not lock.locked():
                self._locks.pop(show_id, None)

    async def changes(self, reader: Reader, show_id: ShowId, since: int) -> bytes | None:
        """Return the changes since a version as JSON; None if only the whole map shows them. Raises EventNotFound."""
        version, layout_version = await versions_of(reader, show_id)
        if not layout_version <= since <= version:
            return None
        rows = await changes_since(reader, show_id, since, _MAX_CHANGES)
        if len(rows) == _MAX_CHANGES:
            return None
        states: dict[str, Any] = {}
        for row in rows:
            states.update((str(change[0]), change[1]) for change in row.changes)
        names = {}
        if not all(isinstance(state, str) for state in states.values()):
            names = {str(row.number): row.name for row in await reader.rows(COUNTS_OF_SHOW, {"show_id": show_id})}
        changes = SeatChangesRead(
            version=max([since, *(row.version for row in rows)]),
            changes=[(place, state) for place, state in states.items() if isinstance(state, str)],
            standing=[
                StandingRead(section=names[place], available=state)
                for place, state in states.items()
                if isinstance(state, int) and place in names
            ],
        )
        return self._json(changes)

    def _find(self, show_id: ShowId, version: int) -> SeatMap | None:
        found = self._maps.get(show_id)
        if found is None or found.version < version:
            return None
        self._maps.move_to_end(show_id)
        return found

    async def _build(self, reader: Reader, show_id: ShowId) -> SeatMap:
        async with reader.snapshot() as snapshot:
            rows = await snapshot.rows(COUNTS_OF_SHOW, {"show_id": show_id})
            if not rows:
                raise EventNotFound(event_id=show_id)
            states = await states_of(snapshot, show_id)
        return await asyncio.to_thread(self._render, show_id, rows, states)

    def _render(self, show_id: ShowId, rows: Sequence[Any], states: bytes) -> SeatMap:
        currency = rows[0].currency
        places = Places.load(layout_of(rows, currency), states)
        sections = [
            _section_map(section, row, places) for section, row in zip(places.layout.sections, rows, strict=True)
        ]
        body = self._json(SeatMapRead(event_id=show_id, version=rows[0].version, sections=sections))
        return SeatMap(rows[0].version, body, gzip.compress(body, _COMPRESSION, mtime=0))

    def _json(self, model: SeatMapRead | SeatChangesRead) -> bytes:
        is_camel = self._context.system.case == "camel"
        return model.model_dump_json(by_alias=is_camel, exclude_none=True).encode()


def _section_map(section: Section, row: Any, places: Places) -> SectionMapRead:
    rows = None
    if not section.is_standing:
        named = enumerate(places.rows(section))
        rows = [RowMapRead(row=row_name(number), states=states) for number, states in named]
    return SectionMapRead(
        section=section.name,
        number=section.number,
        price=Money(row.price_minor, row.currency).amount,
        currency=row.currency,
        rows=rows,
        capacity=row.total if section.is_standing else None,
        available=places.counts(section).available if section.is_standing else None,
        accessible=list(row.accessible),
    )


@asynccontextmanager
async def open_seat_maps(context: ServiceContext) -> AsyncIterator[SeatMaps]:
    """Open the cache of seat maps."""
    yield SeatMaps(context, limit=context.settings_of(SeatingSettings).cached_maps)
