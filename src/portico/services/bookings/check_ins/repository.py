"""SQL of check-ins. A ticket is locked before its check-ins."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, select, tuple_

from portico.contracts.bookings import TicketId
from portico.contracts.events import ShowId
from portico.kit import Repository
from portico.kit.data import Statement, newest_first
from portico.services.bookings.check_ins.errors import CheckInNotFound
from portico.services.bookings.check_ins.models import CheckIn

_CHECK_INS: Any = CheckIn.__table__
_C = _CHECK_INS.c
_BY_SCAN = Statement(
    select(_C.check_in_id).where(_C.event_id == bindparam("of_show"), _C.scan_id == bindparam("of_scan"))
)

ScanKey = tuple[ShowId, str]
"""A show and the id of a scan there."""


class CheckIns(Repository[CheckIn]):
    model, not_found, order = CheckIn, CheckInNotFound, newest_first(CheckIn.check_in_id)

    async def by_scan(self, keys: Collection[ScanKey]) -> dict[ScanKey, CheckIn]:
        """Return the check-ins of these scans."""
        if not keys:
            return {}
        statement: Select[Any] = select(CheckIn).where(tuple_(CheckIn.event_id, CheckIn.scan_id).in_(list(keys)))
        return {(row.event_id, row.scan_id): row for row in await self.source.all(statement) if row.scan_id is not None}

    async def is_known(self, event_id: ShowId, scan_id: str) -> bool:
        """Return whether there is a check-in of this scan."""
        return bool(await self.source.rows(_BY_SCAN, {"of_show": event_id, "of_scan": scan_id}))

    async def active(self, ticket_ids: Collection[TicketId]) -> dict[TicketId, CheckIn]:
        """Return the check-ins of these tickets that count."""
        if not ticket_ids:
            return {}
        statement: Select[Any] = select(CheckIn).where(CheckIn.ticket_id.in_(ticket_ids), CheckIn.status == "ACTIVE")
        return {row.ticket_id: row for row in await self.source.all(statement)}

    async def changed_since(self, event_id: ShowId, since: datetime | None, limit: int) -> Sequence[CheckIn]:
        """Return the check-ins of a show that changed at or after `since`, in the order of their changes."""
        statement: Select[Any] = select(CheckIn).where(CheckIn.event_id == event_id, CheckIn.status != "SUPERSEDED")
        if since is not None:
            statement = statement.where(CheckIn.changed_at >= since)
        return await self.source.all(statement.order_by(CheckIn.changed_at, CheckIn.check_in_id).limit(limit))
