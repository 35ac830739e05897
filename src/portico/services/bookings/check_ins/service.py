"""Use cases of check-ins: record scans, undo one, describe a show to gates that work offline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from portico.contracts.bookings import CheckInId, TicketCheckedIn, TicketId
from portico.contracts.events import ShowId
from portico.kit import Problem, Reader, UnitOfWork
from portico.services.bookings.check_ins.domain import Scan, scan_order
from portico.services.bookings.check_ins.errors import (
    AlreadyCheckedIn,
    CodeReplaced,
    ScanIdReused,
    TicketUnknown,
    WrongEvent,
)
from portico.services.bookings.check_ins.models import CheckIn
from portico.services.bookings.check_ins.repository import CheckIns, ScanKey
from portico.services.bookings.tickets.domain import TicketCode
from portico.services.bookings.tickets.errors import TicketCancelled
from portico.services.bookings.tickets.models import RevokedCode, Ticket
from portico.services.bookings.tickets.repository import Holders, RevokedCodes, Tickets, use_ticket

MAX_ENTRIES: Final = 10_000
"""How many revoked codes, and how many check-ins, a manifest has at most."""

OVERLAP: Final = timedelta(minutes=1)
"""By how much manifests overlap: a change may be committed this long after the time that it has."""


@dataclass(frozen=True, slots=True)
class CheckInWithTicket:
    """A check-in with the ticket's place and its holder's name."""

    row: CheckIn
    section: str
    seat: str | None
    holder_name: str | None

    @property
    def revision(self) -> int:
        """The check-in's revision."""
        return self.row.revision

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row, name)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a gate needs in order to work offline.

    next_since: `since` of the request for later changes. Changes near it may be listed again.
    has_more: whether that request has to follow at once.
    """

    revoked: Sequence[RevokedCode]
    check_ins: Sequence[CheckIn]
    next_since: datetime
    has_more: bool


@dataclass(slots=True)
class _Known:
    """What is stored about the tickets of some scans. Their rows are locked."""

    tickets: Mapping[str, Ticket]
    revoked: set[str]
    by_scan: dict[ScanKey, CheckIn]
    active: dict[TicketId, CheckIn]


async def record_scans(work: UnitOfWork, scans: Sequence[Scan]) -> list[CheckIn | Problem]:
    """Let the holders of tickets in: return the check-in or the problem of each scan, in order.

    Of live scans of a ticket, the first one to arrive wins: the tickets stay locked until the transaction ends. Of scans that
    arrive after the fact, the earliest counts, in whatever order they arrive.
    """
    known = await _load(work, scans)
    results: dict[int, CheckIn | Problem] = {}
    for place in sorted(range(len(scans)), key=lambda place: scans[place].order):
        results[place] = _record(work, scans[place], known)
    return [results[place] for place in range(len(scans))]


async def check_in_each(work: UnitOfWork, scans: Sequence[Scan]) -> list[CheckInWithTicket | Problem]:
    """Let the holders of tickets in: return the check-in or the problem of each live scan, in order.

    Tickets are locked in the order of their serials, so that two transactions do not wait for each other.
    """
    results: dict[int, CheckInWithTicket | Problem] = {}
    for place in sorted(range(len(scans)), key=lambda place: scans[place].lock_order):
        results[place] = await _check_in(work, scans[place])
    return [results[place] for place in range(len(scans))]


async def _check_in(work: UnitOfWork, scan: Scan) -> CheckInWithTicket | Problem:
    if (found := await _use_valid_ticket(work, scan)) is not None:
        return found
    (result,) = await record_scans(work, [scan])
    if isinstance(result, Problem):
        return result
    await work.flush()  # prepared statements for other scans must find it
    return (await with_tickets(work, [result]))[0]


async def undo(work: UnitOfWork, check_in_id: CheckInId, *, by: str, reason: str) -> CheckInWithTicket:
    """Take a check-in back, so that the ticket is valid again. A repeat changes nothing.

    Raises:
        CheckInNotFound: it does not exist.
        CheckInSuperseded: another check-in of the ticket counts.
    """
    check_ins = CheckIns(work)
    found = await check_ins.get(check_in_id)
    ticket = await Tickets(work).get(found.ticket_id, lock=True)
    found = await check_ins.get(check_in_id, lock=True)
    if found.undo(by=by, reason=reason, now=work.now):
        ticket.reopen(now=work.now)
        await work.flush()
    return (await with_tickets(work, [found]))[0]


async def with_tickets(reader: Reader, rows: Sequence[CheckIn]) -> list[CheckInWithTicket]:
    """Return check-ins with their tickets' places and holders."""
    tickets = await Tickets(reader).by_id({row.ticket_id for row in rows})
    names = await Holders(reader).names(ticket.user_id for ticket in tickets.values())
    of_rows = ((row, tickets[row.ticket_id]) for row in rows)
    return [
        CheckInWithTicket(row, ticket.section, ticket.seat_id, names.get(ticket.user_id)) for row, ticket in of_rows
    ]


async def read_manifest(
    reader: Reader, event_id: ShowId, since: datetime | None, *, limit: int = MAX_ENTRIES
) -> Manifest:
    """Return up to `limit` revoked codes and check-ins of a show, of all time or since a moment.

    More than `limit` changes at one moment would stop the walk. A transaction makes at most a few hundred.
    """
    until = reader.now - OVERLAP
    revoked = await RevokedCodes(reader).since(event_id, since, limit)
    check_ins = await CheckIns(reader).changed_since(event_id, since, limit)
    ends = [rows[-1] for rows in (revoked, check_ins) if len(rows) == limit]
    reached = [each.revoked_at if isinstance(each, RevokedCode) else each.changed_at for each in ends]
    return Manifest(revoked, check_ins, min(reached, default=until), has_more=bool(reached))


async def _use_valid_ticket(work: UnitOfWork, scan: Scan) -> CheckInWithTicket | None:
    """Check a valid ticket in with a few prepared statements. Return None if the scan needs a closer look.

    Nearly all scans at the doors are of valid tickets, and many come at once.
    """
    code = scan.code
    if code is None or scan.event_id not in {None, code.event_id} or scan.is_dated or not scan.is_live:
        return None
    if scan.scan_id is not None and await CheckIns(work).is_known(code.event_id, scan.scan_id):
        return None
    ticket = await use_ticket(work, code.serial, at=scan.scanned_at)
    if ticket is None:
        return None
    found = _new_check_in(work, scan, ticket.ticket_id, code)
    await CheckIns(work).insert_all([found])
    work.publish(
        TicketCheckedIn(
            ticket_id=ticket.ticket_id, booking_id=ticket.booking_id, event_id=ticket.event_id, seat=ticket.seat_id
        )
    )
    return CheckInWithTicket(found, ticket.section, ticket.seat_id, ticket.holder_name)


async def _load(work: UnitOfWork, scans: Sequence[Scan]) -> _Known:
    codes = [(scan.code, scan.scan_id) for scan in scans if scan.code is not None]
    serials = {code.serial for code, _ in codes}
    tickets = await Tickets(work).lock_by_serial(serials) if serials else {}
    unknown = serials - tickets.keys()
    revoked = await RevokedCodes(work).known(unknown) if unknown else set()
    by_scan = await CheckIns(work).by_scan({(code.event_id, scan_id) for code, scan_id in codes if scan_id is not None})
    used = [ticket.ticket_id for ticket in tickets.values() if ticket.status == "USED"]
    return _Known(tickets, revoked, by_scan, await CheckIns(work).active(used))


def _record(work: UnitOfWork, scan: Scan, known: _Known) -> CheckIn | Problem:
    code = scan.code
    if code is None:
        return TicketUnknown()
    repeated = known.by_scan.get((code.event_id, scan.scan_id)) if scan.scan_id is not None else None
    if repeated is not None:
        return repeated if repeated.serial == code.serial else ScanIdReused(scan_id=repeated.scan_id or "")
    ticket = _valid_ticket(scan, code, known)
    if isinstance(ticket, Problem):
        return ticket
    scan = scan.not_before(ticket.created_at)
    first = known.active.get(ticket.ticket_id)
    if first is not None and (scan.is_live or scan_order(first.checked_in_at, first.scan_id) <= scan.order):
        return AlreadyCheckedIn(check_in_id=first.check_in_id, first_checked_in_at=first.checked_in_at, gate=first.gate)
    return _let_in(work, scan, code, ticket, known)


def _valid_ticket(scan: Scan, code: TicketCode, known: _Known) -> Ticket | Problem:
    """Return the ticket of a code, or why the code does not admit anyone to the scan's show."""
    ticket = known.tickets.get(code.serial)
    if ticket is None:
        return CodeReplaced() if code.serial in known.revoked else TicketUnknown()
    if ticket.status == "CANCELLED":
        return TicketCancelled(ticket_id=ticket.ticket_id)
    if scan.event_id is not None and scan.event_id != ticket.event_id:
        return WrongEvent(ticket_event_id=ticket.event_id)
    return ticket


def _let_in(work: UnitOfWork, scan: Scan, code: TicketCode, ticket: Ticket, known: _Known) -> CheckIn:
    first = known.active.get(ticket.ticket_id)
    found = _new_check_in(work, scan, ticket.ticket_id, code)
    ticket.use(at=scan.scanned_at, now=work.now)
    work.add(found)
    if first is None:
        work.publish(ticket.to_event(TicketCheckedIn))
    else:
        first.supersede(found.check_in_id, now=work.now)
    known.active[ticket.ticket_id] = found
    if scan.scan_id is not None:
        known.by_scan[ticket.event_id, scan.scan_id] = found
    return found


def _new_check_in(work: UnitOfWork, scan: Scan, ticket_id: TicketId, code: TicketCode) -> CheckIn:
    return CheckIn(
        ticket_id=ticket_id,
        event_id=code.event_id,
        serial=code.serial,
        scan_id=scan.scan_id,
        gate=scan.gate,
        status="ACTIVE",
        checked_in_at=scan.scanned_at,
        checked_in_by=scan.by,
        created_at=work.now,
        changed_at=work.now,
    )
