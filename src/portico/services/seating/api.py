from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import Path, Query, Request, Response

from portico.contracts.events import ShowId
from portico.contracts.seating import Availability
from portico.kit import Context, FromService, Money, Principal, PublicRead, Reads, Router, Work, inject, permitted
from portico.kit.foundation import TooPrecise, UnknownCurrency
from portico.kit.http import accepts_gzip
from portico.services.seating import repository, service
from portico.services.seating.errors import (
    CurrencyInUse,
    EventInUse,
    EventNotFound,
    SeatNotFound,
    SeatsInUse,
    SeatTaken,
    UnknownSeat,
)
from portico.services.seating.history import history_of_seat
from portico.services.seating.holds.writer import HoldWriter
from portico.services.seating.schemas import (
    AvailabilityRead,
    BlocksPut,
    BlocksRead,
    InventoryRead,
    LayoutPut,
    SeatChangesRead,
    SeatHistoryRead,
    SeatMapRead,
)
from portico.services.seating.seat_map import SeatMaps
from portico.services.seating.waitlist import service as waitlist
from portico.services.seating.waitlist.offers import offers_of

router = Router(prefix="/inventory", tags=["inventory"], description="Places of shows, and who holds them")

Maps = Annotated[SeatMaps, inject(SeatMaps)]
Writer = Annotated[HoldWriter, inject(HoldWriter)]
InventoryReader = Annotated[Principal, permitted("inventory:read")]
InventoryWriter = Annotated[Principal, permitted("inventory:write")]
_MAX_SHOWS: Final = 100
_MAX_CHANGES: Final = 1_000
_MAX_SEAT_ID_LENGTH: Final = 32


class MapResponse(Response):
    """A seat map as JSON. `revision` becomes its ETag."""

    media_type = "application/json"
    revision: str = ""


@router.get("/availability", response_model=list[AvailabilityRead])
async def list_availability(
    caller: FromService,
    reads: Reads,
    event_id: Annotated[list[ShowId], Query(min_length=1, max_length=_MAX_SHOWS)],
) -> Sequence[Availability]:
    """Return how many places of these shows are available and used. Unknown shows are left out."""
    return await repository.availability_of(reads, event_id)


@router.get("/{event_id}", response_model=InventoryRead, errors=[EventNotFound])
async def read_inventory(event_id: ShowId, caller: PublicRead, reads: Reads) -> repository.Inventory:
    """Return how many places of a show are available, held, sold and blocked."""
    return await repository.inventory_of(reads, event_id)


@router.get("/{event_id}/seats", response_model=SeatMapRead | SeatChangesRead, errors=[EventNotFound])
async def read_seat_map(
    event_id: ShowId,
    caller: PublicRead,
    reads: Reads,
    maps: Maps,
    request: Request,
    since: Annotated[int | None, Query(ge=0, lt=2**63, description="Version that the caller has")] = None,
) -> MapResponse | Response:
    """Return the map of all seats, or what has changed since a version of it.

    The whole map is also the answer to `since` if the sections have changed since then, or very many seats.
    """
    if since is not None and (changes := await maps.changes(reads, event_id, since)) is not None:
        # Without an ETag: what has changed since a version is no representation that a caller keeps.
        return Response(changes, media_type="application/json", headers={"cache-control": "no-cache"})
    seat_map = await maps.current(reads, event_id)
    headers = {"cache-control": "no-cache", "vary": "Accept-Encoding"}
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        response = MapResponse(seat_map.compressed, headers={**headers, "content-encoding": "gzip"})
        response.revision = f"{seat_map.version}-gzip"
    else:
        response = MapResponse(seat_map.body, headers=headers)
        response.revision = str(seat_map.version)
    return response


@router.put(
    "/{event_id}/layout",
    response_model=AvailabilityRead,
    errors=[EventNotFound, SeatsInUse, CurrencyInUse, UnknownSeat, TooPrecise, UnknownCurrency],
)
async def replace_layout(
    event_id: ShowId, body: LayoutPut, caller: FromService, work: Work, context: Context
) -> Availability:
    """Replace the sections and prices of a show. Places that are held, sold or blocked must remain.

    The currency can change only while no place is held or sold.
    """
    price = Money.of(body.price, body.currency)
    availability = await service.replace_layout(
        work, event_id, [each.plan for each in body.sections], price, revision=body.revision
    )
    await waitlist.follow_show(work, event_id, offers_of(context))
    await service.update_exhaustion(work, event_id)
    return availability


@router.delete("/{event_id}/layout", status_code=204, errors=[EventNotFound, EventInUse])
async def retire_show(
    event_id: ShowId, caller: FromService, work: Work, revision: Annotated[int, Query(ge=1, lt=2**31)]
) -> None:
    """Close a show that is about to be deleted. None of its places can be held, until an event of a later revision."""
    await service.retire_show(work, event_id, revision=revision)


@router.put("/{event_id}/blocks", response_model=BlocksRead, errors=[EventNotFound, UnknownSeat, SeatTaken])
async def set_blocks(event_id: ShowId, body: BlocksPut, caller: InventoryWriter, writer: Writer) -> BlocksRead:
    """Keep seats back from the sale, or return them to it: all of them or none."""
    await writer.set_blocked(event_id, body.seats, blocked=body.blocked)
    return BlocksRead(event_id=event_id, seats=body.seats, blocked=body.blocked)


@router.get("/{event_id}/seats/{seat_id}/history", response_model=SeatHistoryRead, errors=[EventNotFound, SeatNotFound])
async def read_seat_history(
    event_id: ShowId,
    seat_id: Annotated[str, Path(max_length=_MAX_SEAT_ID_LENGTH)],
    caller: InventoryReader,
    reads: Reads,
) -> dict[str, Any]:
    """Return the last changes of a seat: who had it, when and why. Newest first, at most a thousand."""
    changes = await history_of_seat(reads, event_id, seat_id, limit=_MAX_CHANGES)
    return {"event_id": event_id, "seat_id": seat_id, "changes": changes}
