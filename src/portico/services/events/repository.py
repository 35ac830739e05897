"""SQL of shows and of the records of their changes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

import orjson
from sqlalchemy import literal, select, union_all

from portico.contracts.events import ShowId
from portico.kit import Keyset, Reader, Repository, Slice, Window
from portico.kit.data import event_log, outbox
from portico.services.events.errors import ShowNotFound
from portico.services.events.models import Show

BY_DATE: Final = Keyset.by("date", Show.event_date, Show.event_id)


class Shows(Repository[Show]):
    """The shows, by date."""

    model, not_found, order = Show, ShowNotFound, BY_DATE

    async def exists(self, show_id: ShowId) -> bool:
        """Whether the show exists."""
        return await self.source.one(select(Show.event_id).where(Show.event_id == show_id)) is not None


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the outbox: the message about a change of a show. `processed` tells that it was published."""

    aggregate_id: str
    event_type: str
    payload: dict[str, Any]
    processed: bool
    created_at: datetime


_COLUMNS: Final = ("id", "type", "aggregate", "body", "occurred_at")
# One statement sees one snapshot, so a record that the relay moves meanwhile is found once.
_RECORDS: Final = union_all(
    select(*(outbox.c[name] for name in _COLUMNS), literal(value=False).label("processed")),
    select(*(event_log.c[name] for name in _COLUMNS), literal(value=True).label("processed")),
).subquery("records")
_OLDEST_FIRST: Final = Keyset.by("oldest", cast("Any", _RECORDS.c.id))


async def records_of(reader: Reader, show_id: ShowId, window: Window) -> Slice[Record]:
    """Return a page of the records of a show, oldest first.

    Records of a deleted show are kept as long as others: for `EVENT_RETENTION` after they were published.

    Raises:
        ShowNotFound: the show does not exist, and it has no record.
        InvalidCursor: the cursor belongs to another list.
    """
    statement = select(_RECORDS).where(_RECORDS.c.aggregate == str(int(show_id)))
    found = await _OLDEST_FIRST.page_of_columns(reader, statement, window)
    if not found.total and not await Shows(reader).exists(show_id):
        raise ShowNotFound(event_id=show_id)
    records = [
        Record(
            aggregate_id=row.aggregate,
            event_type=row.type.replace(".", "_").upper(),
            payload=orjson.loads(row.body)["data"],
            processed=bool(row.processed),
            created_at=row.occurred_at,
        )
        for row in found.rows
    ]
    return Slice(records, found.total, next=found.next, previous=found.previous)
