from typing import Annotated, Any

from fastapi import Request, Response

from portico.contracts.events import ShowId
from portico.kit import (
    Conditions,
    InvalidCursor,
    NumberedPage,
    PreconditionFailed,
    Principal,
    Reads,
    Router,
    Slice,
    Work,
    numbered_list,
    permitted,
    provided,
)
from portico.kit.foundation import TooPrecise, UnknownCurrency
from portico.services.events import service
from portico.services.events.availability import AvailableSeats
from portico.services.events.errors import (
    IllegalTransition,
    LayoutInvalid,
    SaleWindowInvalid,
    SeatTotalDiffers,
    ShowNotFound,
)
from portico.services.events.models import Show
from portico.services.events.repository import Shows, records_of
from portico.services.events.schemas import RecordRead, ShowCreate, ShowRead, StatusChange

router = Router(prefix="/events", tags=["events"], description="Events: dates, venues, prices and their life on sale")

EventsWriter = Annotated[Principal, permitted("events:write")]
Available = Annotated[AvailableSeats, provided(AvailableSeats)]
DRAFT_ERRORS = (LayoutInvalid, SeatTotalDiffers, SaleWindowInvalid, UnknownCurrency, TooPrecise)


@router.post("", status_code=201, response_model=ShowRead, errors=DRAFT_ERRORS)
async def create_event(
    draft: ShowCreate, caller: EventsWriter, work: Work, request: Request, response: Response
) -> Show:
    """Create an event. Its seats exist within a second."""
    show = await service.create_show(work, draft)
    response.headers["location"] = f"{request.url.path}/{show.event_id}"
    return show


@router.get("/{event_id}", response_model=ShowRead, errors=[ShowNotFound])
async def read_event(event_id: ShowId, reads: Reads, available: Available) -> Show:
    """Return one event. `available_seats` is at most a second old, and null while the inventory cannot be reached."""
    show = await Shows(reads).get(event_id)
    await available.add_to([show])
    return show


@router.put("/{event_id}/status", response_model=ShowRead, errors=[ShowNotFound, IllegalTransition, PreconditionFailed])
async def change_event_status(
    event_id: ShowId,
    change: StatusChange,
    caller: EventsWriter,
    work: Work,
    conditions: Conditions,
    available: Available,
) -> Show:
    """Change the status. A change to the current status does nothing."""
    counts = await available.of([event_id])  # before the transaction begins
    show = await service.change_status(work, event_id, change.status, reopen=change.reopen, check=conditions.require)
    show.set_available(counts[event_id])
    return show


@router.get(
    "/{event_id}/outbox",
    response_model=numbered_list("records", RecordRead),
    errors=[ShowNotFound, InvalidCursor],
)
async def list_records(event_id: ShowId, caller: EventsWriter, reads: Reads, page: NumberedPage) -> Slice[Any]:
    """List the messages about the changes of an event, oldest first.

    A record is processed once the message is published. It is kept for `EVENT_RETENTION` after that, also if the event
    is deleted.
    """
    return await records_of(reads, event_id, page)
