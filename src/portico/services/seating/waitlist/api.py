from typing import Annotated

from portico.contracts.events import ShowId
from portico.kit import (
    Context,
    InvalidCursor,
    NumberedPage,
    Principal,
    Reads,
    Router,
    SignedIn,
    Slice,
    Work,
    numbered_list,
    permitted,
)
from portico.services.seating.errors import (
    AlreadyWaiting,
    EventNotFound,
    HoldInUse,
    SaleClosed,
    SeatLimitReached,
    SeatsAvailable,
    WaitlistEntryNotFound,
)
from portico.services.seating.repository import versions_of
from portico.services.seating.waitlist import repository, service
from portico.services.seating.waitlist.offers import offers_of
from portico.services.seating.waitlist.repository import Entry
from portico.services.seating.waitlist.schemas import WaitlistEntryCreate, WaitlistEntryRead

router = Router(
    prefix="/events/{event_id}/waitlist", tags=["waitlist"], description="Who gets the places of a show that come free"
)

InventoryReader = Annotated[Principal, permitted("inventory:read")]


@router.post(
    "",
    status_code=201,
    response_model=WaitlistEntryRead,
    errors=[EventNotFound, AlreadyWaiting, SaleClosed, SeatLimitReached, SeatsAvailable],
)
async def join_waitlist(
    event_id: ShowId, body: WaitlistEntryCreate, caller: SignedIn, work: Work, context: Context
) -> Entry:
    """Join the waiting list of a show whose places cannot be had. Places that come free are held for the caller in turn."""
    return await service.join(work, event_id, caller.user_id, body.quantity, offers_of(context))


@router.get("/me", response_model=WaitlistEntryRead, errors=[EventNotFound, WaitlistEntryNotFound])
async def read_waitlist_entry(event_id: ShowId, caller: SignedIn, reads: Reads) -> Entry:
    """Return the caller's newest entry in the waiting list of a show."""
    await versions_of(reads, event_id)
    return await repository.get_newest_entry(reads, event_id, caller.user_id)


@router.delete("/me", status_code=204, errors=[EventNotFound, HoldInUse])
async def leave_waitlist(event_id: ShowId, caller: SignedIn, work: Work, context: Context) -> None:
    """Leave the waiting list of a show. An offer goes to the next party."""
    await service.leave(work, event_id, caller.user_id, offers_of(context))


@router.get("", response_model=numbered_list("entries", WaitlistEntryRead), errors=[EventNotFound, InvalidCursor])
async def list_waitlist(event_id: ShowId, caller: InventoryReader, reads: Reads, page: NumberedPage) -> Slice[Entry]:
    """List the waiting list of a show, also those who no longer wait, in the order of joining."""
    await versions_of(reads, event_id)
    return await repository.list_entries(reads, event_id, page)
