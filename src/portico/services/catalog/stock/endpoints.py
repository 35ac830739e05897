from datetime import timedelta
from typing import Annotated

from fastapi import Query, Response

from portico.contracts.catalog import ProductId, ReservationId
from portico.kit import (
    Conditions,
    Context,
    FromService,
    InvalidCursor,
    Moment,
    Page,
    Principal,
    Reads,
    Router,
    Work,
    permitted,
    provided,
)
from portico.services.catalog.products.errors import ProductNotFound
from portico.services.catalog.settings import CatalogSettings
from portico.services.catalog.stock import commands, queries
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
from portico.services.catalog.stock.resources import StockWriter
from portico.services.catalog.stock.schemas import (
    AdjustmentCreate,
    AvailabilityAsk,
    AvailabilityItem,
    ReservationPut,
    ReservationRead,
    StockLevelRead,
    TransactionRead,
    quantities,
)

router = Router(prefix="/inventory", tags=["inventory"])

MayRead = Annotated[Principal, permitted("inventory:read")]
MayWrite = Annotated[Principal, permitted("inventory:write")]
Writer = Annotated[StockWriter, provided(StockWriter)]


@router.get("/{product_id}", errors=[ProductNotFound, MomentNotPast])
async def read_stock(
    product_id: ProductId,
    reads: Reads,
    seen: Conditions,
    at: Annotated[Moment | None, Query(description="A moment of the past; now without it")] = None,
) -> StockLevelRead:
    """What there is of a product, or was at any moment of the past."""
    found = await (queries.stock(reads, product_id) if at is None else queries.stock_at(reads, product_id, at))
    seen.tag(found)
    return StockLevelRead.of(found)


@router.post("/{product_id}/adjustments", status_code=201, errors=[ProductNotFound, InsufficientStock, TooMuchStock])
async def adjust_stock(
    product_id: ProductId, draft: AdjustmentCreate, caller: MayWrite, work: Work, context: Context
) -> TransactionRead:
    """Book that there is more of a product, or less, than was known. Never less than is reserved."""
    entry = await commands.adjust_stock(
        work,
        product_id,
        draft.quantity,
        reason=draft.reason,
        note=draft.note,
        actor=caller.subject,
        low=context.settings_of(CatalogSettings).low_stock_threshold,
    )
    return TransactionRead.of(entry)


@router.get("/{product_id}/transactions", errors=[ProductNotFound, InvalidCursor])
async def list_transactions(product_id: ProductId, caller: MayRead, reads: Reads, page: Page) -> list[TransactionRead]:
    """The ledger of a product, newest first."""
    return page.of(TransactionRead, await queries.transactions(reads, product_id, page.window))


@router.post("/availability", stores_answer=False)
async def check_availability(asked: AvailabilityAsk, reads: Reads) -> list[AvailabilityItem]:
    """Whether there is enough of some products at this moment: for each item, in order. Nothing is held."""
    wanted = quantities(asked.items)
    found = await queries.available(reads, wanted)
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
    errors=[ProductNotFound, InsufficientStock, ReservationDiffers, ReservationReleased],
    framework={"responses": {200: {"model": ReservationRead, "description": "It was there already"}}},
)
async def reserve_stock(
    reservation_id: ReservationId, draft: ReservationPut, caller: FromService, writer: Writer, response: Response
) -> ReservationRead:
    """Hold all items or none, until they are confirmed or the time is over. May be repeated."""
    lasting = None if draft.expires_in is None else timedelta(seconds=draft.expires_in)
    reservation = await writer.reserve(reservation_id, quantities(draft.items), lasting=lasting, actor=caller.subject)
    if reservation.known:
        response.status_code = 200
    return ReservationRead.of(reservation)


@router.post(
    "/reservations/{reservation_id}/confirm",
    stores_answer=False,
    errors=[ReservationNotFound, ReservationExpired, ReservationReleased],
)
async def confirm_reservation(reservation_id: ReservationId, caller: FromService, writer: Writer) -> ReservationRead:
    """Hold the items for good. One that expired is renewed where there is still enough. May be repeated."""
    return ReservationRead.of(await writer.confirm(reservation_id, actor=caller.subject))


@router.delete("/reservations/{reservation_id}", status_code=204, errors=[ReservationShipped])
async def release_reservation(reservation_id: ReservationId, caller: FromService, writer: Writer) -> None:
    """Hold the items no longer, nor ever: under this id nothing is reserved after this. May be repeated."""
    await writer.release(reservation_id, actor=caller.subject)


@router.post(
    "/reservations/{reservation_id}/ship",
    stores_answer=False,
    errors=[ReservationNotFound, ReservationNotConfirmed, ReservationReleased],
)
async def ship_reservation(reservation_id: ReservationId, caller: FromService, writer: Writer) -> ReservationRead:
    """Take the items of a confirmed reservation out of stock. May be repeated."""
    return ReservationRead.of(await writer.ship(reservation_id, actor=caller.subject))


@router.post(
    "/reservations/{reservation_id}/return",
    stores_answer=False,
    errors=[ReservationNotFound, ReservationNotShipped, TooMuchStock],
)
async def return_reservation(reservation_id: ReservationId, caller: FromService, writer: Writer) -> ReservationRead:
    """Put the items of a shipped reservation back into stock. May be repeated."""
    return ReservationRead.of(await writer.take_back(reservation_id, actor=caller.subject))
