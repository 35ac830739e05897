from datetime import timedelta
from typing import Annotated

from fastapi import Query, Response

from portico.contracts.catalog import ProductId, ReservationId
from portico.kit import (
    Context,
    FromService,
    InvalidCursor,
    Moment,
    Page,
    Principal,
    Reads,
    Router,
    Slice,
    Work,
    inject,
    permitted,
)
from portico.kit.http import add_batch_route
from portico.services.catalog.errors import ProductNotFound
from portico.services.catalog.settings import CatalogSettings
from portico.services.catalog.stock import repository, service
from portico.services.catalog.stock.domain import Entry, Reservation
from portico.services.catalog.stock.errors import (
    InsufficientStock,
    MomentNotPast,
    ReservationDiffers,
    ReservationExpired,
    ReservationNotConfirmed,
    ReservationNotFound,
    ReservationNotShipped,
    ReservationReleased,
    ReservationShipped,
    TooMuchStock,
)
from portico.services.catalog.stock.schemas import (
    AdjustmentCreate,
    AvailabilityItem,
    AvailabilityQuery,
    ReservationPut,
    ReservationRead,
    StockLevelRead,
    TransactionRead,
    quantities,
)
from portico.services.catalog.stock.writer import StockWriter

router = Router(prefix="/inventory", tags=["inventory"], description="Stock of products, its ledger and reservations")

InventoryReader = Annotated[Principal, permitted("inventory:read")]
InventoryWriter = Annotated[Principal, permitted("inventory:write")]
ReservationWriter = Annotated[StockWriter, inject(StockWriter)]


@router.get("/{product_id}", response_model=StockLevelRead, errors=[ProductNotFound, MomentNotPast])
async def read_stock(
    product_id: ProductId,
    reads: Reads,
    at: Annotated[Moment | None, Query(description="A moment in the past; the current stock if omitted")] = None,
) -> repository.StockView:
    """Return the stock of a product, now or at a past moment."""
    if at is None:
        return await repository.current_stock(reads, product_id)
    return await repository.stock_at(reads, product_id, at)


@router.post(
    "/{product_id}/adjustments",
    status_code=201,
    response_model=TransactionRead,
    errors=[ProductNotFound, InsufficientStock, TooMuchStock],
)
async def adjust_stock(
    product_id: ProductId, draft: AdjustmentCreate, caller: InventoryWriter, work: Work, context: Context
) -> Entry:
    """Adjust the stock of a product, up or down, but never below what is reserved."""
    return await service.adjust_stock(
        work,
        product_id,
        draft.quantity,
        reason=draft.reason,
        note=draft.note,
        actor=caller.subject,
        low=context.settings_of(CatalogSettings).low_stock_threshold,
    )


@router.get("/{product_id}/transactions", response_model=list[TransactionRead], errors=[ProductNotFound, InvalidCursor])
async def list_transactions(product_id: ProductId, caller: InventoryReader, reads: Reads, page: Page) -> Slice[Entry]:
    """List the ledger entries of a product, newest first."""
    return await repository.list_transactions(reads, product_id, page)


@router.post("/availability", stores_response=False)
async def check_availability(query: AvailabilityQuery, reads: Reads) -> list[AvailabilityItem]:
    """Check whether the stock suffices now, for each item in order. Nothing is reserved."""
    wanted = quantities(query.items)
    found = await repository.available_stock(reads, wanted)
    return [
        AvailabilityItem(
            product_id=product_id,
            requested=quantity,
            available=found.get(product_id, 0),
            ok=found.get(product_id, 0) >= quantity,
        )
        for product_id, quantity in wanted.items()
    ]


@router.put(
    "/reservations/{reservation_id}",
    status_code=201,
    response_model=ReservationRead,
    errors=[ProductNotFound, InsufficientStock, ReservationDiffers, ReservationNotFound, ReservationReleased],
    framework={"responses": {200: {"model": ReservationRead, "description": "The reservation existed already"}}},
)
async def reserve_stock(
    reservation_id: ReservationId,
    draft: ReservationPut,
    caller: FromService,
    writer: ReservationWriter,
    response: Response,
) -> Reservation:
    """Reserve all items or none until they are confirmed or expire. Safe to repeat."""
    lasting = None if draft.expires_in is None else timedelta(seconds=draft.expires_in)
    reservation = await writer.reserve(reservation_id, quantities(draft.items), lasting=lasting, actor=caller.subject)
    if reservation.known:
        response.status_code = 200
    return reservation


@router.post(
    "/reservations/{reservation_id}/confirm",
    response_model=ReservationRead,
    stores_response=False,
    errors=[ReservationNotFound, ReservationExpired, ReservationReleased],
)
async def confirm_reservation(
    reservation_id: ReservationId, caller: FromService, writer: ReservationWriter
) -> Reservation:
    """Confirm a reservation. An expired one is renewed if the stock suffices. Safe to repeat."""
    return await writer.confirm(reservation_id, actor=caller.subject)


@router.delete("/reservations/{reservation_id}", status_code=204, errors=[ReservationNotFound, ReservationShipped])
async def release_reservation(reservation_id: ReservationId, caller: FromService, writer: ReservationWriter) -> None:
    """Release a reservation permanently: a later reserve with this id is rejected. Safe to repeat."""
    await writer.release(reservation_id, actor=caller.subject)


@router.post(
    "/reservations/{reservation_id}/ship",
    response_model=ReservationRead,
    stores_response=False,
    errors=[ReservationNotFound, ReservationNotConfirmed, ReservationReleased],
)
async def ship_reservation(
    reservation_id: ReservationId, caller: FromService, writer: ReservationWriter
) -> Reservation:
    """Take the items of a confirmed reservation out of stock. Safe to repeat."""
    return await writer.ship(reservation_id, actor=caller.subject)


@router.post(
    "/reservations/{reservation_id}/return",
    response_model=ReservationRead,
    stores_response=False,
    errors=[ReservationNotFound, ReservationNotShipped, TooMuchStock],
)
async def return_reservation(
    reservation_id: ReservationId, caller: FromService, writer: ReservationWriter
) -> Reservation:
    """Put the items of a shipped reservation back into stock. Safe to repeat."""
    return await writer.return_items(reservation_id, actor=caller.subject)


add_batch_route(router, "/reservations/batch", of=reserve_stock)
add_batch_route(router, "/reservations/confirm/batch", of=confirm_reservation)
add_batch_route(router, "/reservations/release/batch", of=release_reservation)
add_batch_route(router, "/reservations/ship/batch", of=ship_reservation)
