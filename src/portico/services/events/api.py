from datetime import date, datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request, Response

from portico.contracts.events import ShowId, ShowStatus
from portico.kit import (
    Conditions,
    Context,
    InvalidCursor,
    NumberedPage,
    PreconditionFailed,
    Principal,
    PublicRead,
    Reads,
    Router,
    Slice,
    Work,
    inject,
    numbered_list,
    permitted,
)
from portico.kit.foundation import TooPrecise, UnknownCurrency
from portico.kit.http import DateOrMoment
from portico.services.events import planned_changes, service
from portico.services.events.availability import AvailableSeats
from portico.services.events.domain import FIRST_TIME, LAST_TIME
from portico.services.events.errors import (
    ChangeInProgress,
    CurrencyInUse,
    IllegalTransition,
    LayoutInvalid,
    SaleWindowInvalid,
    SeatsInUse,
    SeatTotalDiffers,
    ShowEnded,
    ShowInUse,
    ShowNotFound,
)
from portico.services.events.models import Show
from portico.services.events.repository import ShowFilter, Shows, records_of
from portico.services.events.schemas import RecordRead, ShowCreate, ShowRead, ShowUpdate, StatusChange

router = Router(
    prefix="/events", tags=["events"], description="Events: dates, venues, prices and the lifecycle of shows on sale"
)

MAX_QUERY_LENGTH: Final = 200
EventsWriter = Annotated[Principal, permitted("events:write")]
Available = Annotated[AvailableSeats, inject(AvailableSeats)]
DRAFT_ERRORS = (LayoutInvalid, SeatTotalDiffers, SaleWindowInvalid, UnknownCurrency, TooPrecise)


@router.post("", status_code=201, response_model=ShowRead, errors=DRAFT_ERRORS)
async def create_event(
    draft: ShowCreate, caller: EventsWriter, work: Work, request: Request, response: Response
) -> Show:
    """Create an event. Its seats exist within a second."""
    show = await service.create_show(work, draft)
    response.headers["location"] = f"{request.url.path}/{show.event_id}"
    return show


async def _filter(
    status: ShowStatus | None = None,
    category: Annotated[str | None, Query(max_length=MAX_QUERY_LENGTH)] = None,
    venue: Annotated[str | None, Query(max_length=MAX_QUERY_LENGTH, description="Words that the venue has")] = None,
    date_from: Annotated[
        DateOrMoment | None, Query(description="A time, or a date in the event's time zone; included")
    ] = None,
    date_to: Annotated[
        DateOrMoment | None,
        Query(description="A time (excluded), or a date in the event's time zone (included)"),
    ] = None,
) -> ShowFilter:
    return ShowFilter(
        status=status,
        category=category or None,
        venue=venue or None,
        starts_from=_instant(date_from),
        starts_before=_instant(date_to),
        first_date=_date(date_from),
        last_date=_date(date_to),
    )


def _instant(bound: datetime | date | None) -> datetime | None:
    return min(max(bound, FIRST_TIME), LAST_TIME) if isinstance(bound, datetime) else None


def _date(bound: datetime | date | None) -> date | None:
    return None if isinstance(bound, datetime) else bound


@router.get("", response_model=numbered_list("events", ShowRead), errors=[InvalidCursor])
async def list_events(
    chosen: Annotated[ShowFilter, Depends(_filter)],
    caller: PublicRead,
    page: NumberedPage,
    reads: Reads,
    available: Available,
) -> Slice[Show]:
    """List events by date. `category` is compared whole, without case and accents."""
    found = await Shows(reads).list_shows(chosen, page)
    await available.add_to(found.rows)
    return found


@router.get("/{event_id}", response_model=ShowRead, errors=[ShowNotFound])
async def read_event(event_id: ShowId, caller: PublicRead, reads: Reads, available: Available) -> Show:
    """Return one event. `available_seats` is at most a second old, and null while the inventory cannot be reached."""
    show = await Shows(reads).get(event_id)
    await available.add_to([show])
    return show


@router.put(
    "/{event_id}",
    response_model=ShowRead,
    errors=[
        ShowNotFound,
        ShowEnded,
        IllegalTransition,
        SeatsInUse,
        CurrencyInUse,
        ChangeInProgress,
        PreconditionFailed,
        *DRAFT_ERRORS,
    ],
)
async def update_event(
    event_id: ShowId,
    changes: ShowUpdate,
    caller: EventsWriter,
    context: Context,
    conditions: Conditions,
    available: Available,
) -> Show:
    """Change some fields of an event, all or nothing. A new date or venue reopens full refunds for 14 days.

    Sections can be added, resized and renamed, as long as all seats that are held, sold or blocked remain. A new price is
    for new holds. The currency can change while no place is held or sold and no code has an amount.
    """
    show = await planned_changes.update_show(context, event_id, changes, check=conditions.require)
    if show.available_seats is None:
        await available.add_to([show])
    return show


@router.delete("/{event_id}", status_code=204, errors=[ShowNotFound, ShowInUse, ChangeInProgress, PreconditionFailed])
async def delete_event(event_id: ShowId, caller: EventsWriter, context: Context, conditions: Conditions) -> None:
    """Delete an event of which no seat is held or sold."""
    await planned_changes.remove_show(context, event_id, check=conditions.require)


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
