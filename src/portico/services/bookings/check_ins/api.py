from functools import partial
from itertools import islice
from typing import Annotated, Final

from fastapi import Header, Query

from portico.contracts.bookings import CheckInId
from portico.contracts.events import ShowId
from portico.kit import (
    Context,
    InvalidCursor,
    Moment,
    NumberedPage,
    Principal,
    Problem,
    Reads,
    Router,
    Slice,
    Work,
    inject,
    numbered_list,
    permitted,
)
from portico.services.bookings.check_ins import service
from portico.services.bookings.check_ins.domain import Scan, scan_id_of
from portico.services.bookings.check_ins.errors import (
    AlreadyCheckedIn,
    CheckInNotFound,
    CheckInSuperseded,
    CodeReplaced,
    ScanIdReused,
    TicketUnknown,
    WrongEvent,
)
from portico.services.bookings.check_ins.models import CheckIn
from portico.services.bookings.check_ins.repository import CheckIns
from portico.services.bookings.check_ins.schemas import (
    BatchCreate,
    BatchRead,
    CheckInCreate,
    CheckInRead,
    ManifestRead,
    ScanResult,
    UndoCreate,
)
from portico.services.bookings.check_ins.service import CheckInWithTicket
from portico.services.bookings.check_ins.writer import CheckInWriter
from portico.services.bookings.tickets.errors import TicketCancelled
from portico.services.bookings.tickets.signing_keys import TicketKeys

router = Router(prefix="/check-ins", tags=["check-ins"], description="Tickets that are used at the gates of a show")

Scanner = Annotated[Principal, permitted("check-ins:write")]
Keys = Annotated[TicketKeys, inject(TicketKeys)]
Writer = Annotated[CheckInWriter, inject(CheckInWriter)]
KeyHeader = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=255, description="Used if the body has no `scan_id`"),
]

_CREATED: Final = 201
_SCANS_IN_A_TRANSACTION: Final = 100
"""A large transaction would let other gates wait."""


@router.post(
    "",
    status_code=201,
    response_model=CheckInRead,
    stores_response=False,  # the scan's id, or else the key, is stored with the check-in
    errors=[TicketUnknown, TicketCancelled, CodeReplaced, WrongEvent, AlreadyCheckedIn, ScanIdReused],
)
async def check_in(
    body: CheckInCreate,
    caller: Scanner,
    context: Context,
    keys: Keys,
    writer: Writer,
    idempotency_key: KeyHeader = None,
) -> CheckInWithTicket:
    """Let the holder of a ticket in, once. Whether the ticket is valid is checked before whether it was used.

    The first scan that arrives wins, whatever its time. Send what an offline gate scanned to `/check-ins/batch`.
    """
    (code,) = await keys.read([body.code])
    scan_id = body.scan_id
    if scan_id is None and idempotency_key is not None:
        scan_id = scan_id_of(caller.subject, idempotency_key)
    scan = Scan.arrived(
        code,
        event_id=body.event_id,
        gate=body.gate,
        scan_id=scan_id,
        scanned_at=body.scanned_at,
        now=context.clock.now(),
        is_live=True,
        by=caller.subject,
    )
    return await writer.check_in(scan)


@router.post("/batch", body_limit=2 << 20, timeout=60, stores_response=False)  # each scan has an id of its own
async def check_in_batch(body: BatchCreate, caller: Scanner, context: Context, keys: Keys) -> BatchRead:
    """Record up to 1,000 scans of offline gates. The earliest scan of each ticket counts."""
    now = context.clock.now()
    codes = await keys.read([each.code for each in body.scans])
    scans = [
        (
            each.scan_id,
            Scan.arrived(
                code,
                event_id=each.event_id,
                gate=each.gate,
                scan_id=each.scan_id,
                scanned_at=each.scanned_at,
                now=now,
                is_live=False,
                by=caller.subject,
            ),
        )
        for each, code in zip(body.scans, codes, strict=True)
    ]
    results: dict[str, CheckIn | Problem] = {}
    ordered = iter(sorted(scans, key=lambda scan: scan[1].order))
    while chunk := list(islice(ordered, _SCANS_IN_A_TRANSACTION)):
        recorded = await context.transact(partial(service.record_scans, scans=[scan for _, scan in chunk]))
        results.update(zip((scan_id for scan_id, _ in chunk), recorded, strict=True))
    return BatchRead(results=[_result(each.scan_id, results[each.scan_id]) for each in body.scans])


@router.get("", response_model=numbered_list("check_ins", CheckInRead), errors=[InvalidCursor])
async def list_check_ins(
    _caller: Scanner, page: NumberedPage, reads: Reads, event_id: ShowId | None = None
) -> Slice[CheckInWithTicket]:
    """List check-ins, newest first, also superseded and undone ones."""
    of_show = None if event_id is None else CheckIn.event_id == event_id
    found = await CheckIns(reads).page(page, of_show)
    rows = await service.with_tickets(reads, found.rows)
    return found.with_rows(rows)


@router.get("/manifest")
async def read_manifest(
    _caller: Scanner,
    reads: Reads,
    keys: Keys,
    event_id: ShowId,
    since: Annotated[Moment | None, Query(description="`next_since` of the previous manifest")] = None,
) -> ManifestRead:
    """Return what a gate needs in order to check codes offline: public keys, revoked codes, and check-ins.

    With `since`, only what changed since then.
    """
    manifest = await service.read_manifest(reads, event_id, since)
    return ManifestRead.of(
        {
            "event_id": event_id,
            "keys": await keys.public_keys(),
            "revoked": manifest.revoked,
            "check_ins": manifest.check_ins,
            "next_since": manifest.next_since,
            "has_more": manifest.has_more,
        }
    )


@router.post("/{check_in_id}/undo", response_model=CheckInRead, errors=[CheckInNotFound, CheckInSuperseded])
async def undo_check_in(check_in_id: CheckInId, body: UndoCreate, caller: Scanner, work: Work) -> CheckInWithTicket:
    """Take a check-in back, so that the ticket is valid again. The reason is recorded."""
    return await service.undo(work, check_in_id, by=caller.subject, reason=body.reason)


def _result(scan_id: str, found: CheckIn | Problem) -> ScanResult:
    if isinstance(found, AlreadyCheckedIn):
        return ScanResult(
            scan_id=scan_id,
            status=found.status,
            code=found.code,
            first_checked_in_at=found.first_checked_in_at,
            gate=found.gate,
        )
    if isinstance(found, Problem):
        return ScanResult(scan_id=scan_id, status=found.status, code=found.code)
    return ScanResult(
        scan_id=scan_id,
        status=_CREATED,
        check_in_id=found.check_in_id,
        ticket_id=found.ticket_id,
        gate=found.gate,
    )
