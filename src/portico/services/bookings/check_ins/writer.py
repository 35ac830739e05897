"""The process's single writer of check-ins at the doors, which commits them in groups."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portico.kit import ServiceContext
from portico.kit.data import GroupCommit
from portico.services.bookings.check_ins.domain import Scan
from portico.services.bookings.check_ins.service import CheckInWithTicket, check_in_each
from portico.services.bookings.settings import BookingsSettings


class CheckInWriter:
    """Records the live scans of many gates in few transactions. In a rush, gates do not wait for each other's commits."""

    def __init__(self, group: GroupCommit[Scan, CheckInWithTicket]) -> None:
        self._group = group

    async def check_in(self, scan: Scan) -> CheckInWithTicket:
        """Let the holder of a ticket in.

        Raises:
            TicketUnknown: the code is forged.
            TicketCancelled, CodeReplaced: it is no longer valid.
            WrongEvent: it is for another show.
            AlreadyCheckedIn: another scan of the ticket let a person in.
            ScanIdReused: the scan's id is that of a scan of another ticket.
            Unavailable: too many scans are waiting.
        """
        return await self._group.submit(scan)


@asynccontextmanager
async def open_check_in_writer(context: ServiceContext) -> AsyncIterator[CheckInWriter]:
    """Open the writer. Scans that wait when the service stops are still recorded."""
    settings = context.settings_of(BookingsSettings)
    group = GroupCommit[Scan, CheckInWithTicket](
        context.transaction, check_in_each, max_batch=settings.check_in_batch, max_waiting=settings.check_in_queue
    )
    async with group:
        yield CheckInWriter(group)
