import hashlib
from typing import Annotated, Final

from fastapi import Header, Request, Response

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import (
    Context,
    FromService,
    InvalidCursor,
    NotFound,
    NumberedPage,
    Reads,
    Router,
    SignedIn,
    Slice,
    TooManyRequests,
    UserId,
    inject,
    numbered_list,
)
from portico.services.seating.errors import (
    AccessibleOnly,
    AdmissionRequired,
    CodeExhausted,
    CodeNotValidNow,
    CodeUnknown,
    EventCancelled,
    EventNotFound,
    HoldExpired,
    HoldInUse,
    HoldLost,
    HoldNotFound,
    HoldUsed,
    LeavesSingleSeat,
    NoAdjacentSeats,
    NotEnoughSeats,
    SaleClosed,
    SeatLimitReached,
    SeatTaken,
    SoldOut,
    UnknownSeat,
    UnknownSection,
)
from portico.services.seating.holds import repository
from portico.services.seating.holds.claims import SoldPlaceKey
from portico.services.seating.holds.schemas import (
    ClaimPut,
    HoldCreate,
    HoldPut,
    HoldRead,
    HoldView,
    ReleasePut,
    ReturnPut,
    SalePut,
    ServiceHoldRead,
    hold_json,
)
from portico.services.seating.holds.writer import HoldWriter
from portico.services.seating.repository import versions_of

router = Router(prefix="/inventory", tags=["holds"], description="Places that are held for a user")

Writer = Annotated[HoldWriter, inject(HoldWriter)]
TAKE_ERRORS: Final = (
    EventNotFound,
    SaleClosed,
    SoldOut,
    CodeUnknown,
    CodeNotValidNow,
    CodeExhausted,
    TooManyRequests,
    AdmissionRequired,
    SeatLimitReached,
    UnknownSection,
    UnknownSeat,
    SeatTaken,
    AccessibleOnly,
    LeavesSingleSeat,
    NotEnoughSeats,
    NoAdjacentSeats,
)
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS: Final = 26


@router.post(
    "/{event_id}/holds",
    status_code=201,
    response_model=HoldRead,
    calls_services=True,
    rate="holds",
    errors=[*TAKE_ERRORS, HoldNotFound],
)
async def take_hold(
    event_id: ShowId,
    body: HoldCreate,
    caller: SignedIn,
    writer: Writer,
    context: Context,
    request: Request,
    x_admission_token: Annotated[str | None, Header(description="Token of the waiting room, while that is on")] = None,
) -> Response:
    """Hold places for the caller: the best available, or chosen seats. All of them are held, or none."""
    key = request.headers.get("idempotency-key")
    hold_id = HoldId.new() if key is None else _hold_id_of(caller.user_id, event_id, key)
    hold = await writer.take(
        event_id, hold_id, caller.user_id, body.wanted, admission=x_admission_token, is_new=key is None
    )
    headers = {"location": f"{request.scope['path']}/{hold.hold_id}"}
    return Response(
        hold_json(hold, context.system.case), status_code=201, headers=headers, media_type="application/json"
    )


def _hold_id_of(user_id: UserId, event_id: ShowId, key: str) -> HoldId:
    """Return the id of the hold that a request with this Idempotency-Key takes.

    If the process ends between the hold and the storing of the answer, a repeated request finds the same hold.
    """
    number = int.from_bytes(hashlib.sha256(f"{user_id}\n{event_id}\n{key}".encode()).digest())
    digits = []
    for _ in range(_DIGITS):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return HoldId(f"{HoldId.prefix}_{''.join(digits)}")


@router.get("/{event_id}/holds", response_model=numbered_list("holds", HoldRead), errors=[EventNotFound, InvalidCursor])
async def list_holds(event_id: ShowId, caller: SignedIn, reads: Reads, page: NumberedPage) -> Slice[HoldView]:
    """List the caller's holds of a show, newest first."""
    await versions_of(reads, event_id)
    found = await repository.list_holds(reads, event_id, caller.user_id, page)
    views = [HoldView(each, reads.now) for each in found.rows]
    return found.with_rows(views)


@router.get("/{event_id}/holds/{hold_id}", response_model=HoldRead, errors=[EventNotFound, HoldNotFound])
async def read_hold(event_id: ShowId, hold_id: HoldId, caller: SignedIn, reads: Reads) -> HoldView:
    """Return one of the caller's holds."""
    return HoldView(await repository.find_hold(reads, event_id, hold_id, caller.user_id), reads.now)


@router.delete(
    "/{event_id}/holds/{hold_id}", status_code=204, errors=[EventNotFound, HoldNotFound, HoldInUse, HoldUsed]
)
async def release_hold(event_id: ShowId, hold_id: HoldId, caller: SignedIn, writer: Writer) -> None:
    """Give the places of a hold back. A hold that has ended stays as it is."""
    await writer.release(event_id, hold_id, caller.user_id)


@router.put("/{event_id}/holds/{hold_id}", response_model=ServiceHoldRead, errors=[*TAKE_ERRORS, HoldNotFound])
async def take_hold_for_user(
    event_id: ShowId, hold_id: HoldId, body: HoldPut, caller: FromService, writer: Writer, reads: Reads
) -> HoldView:
    """Hold places for a user under an id that the calling service chose. Safe to repeat."""
    return HoldView(
        await writer.take(event_id, hold_id, body.user_id, body.wanted, admission=body.admission), reads.now
    )


@router.get(
    "/{event_id}/users/{user_id}/holds/{hold_id}",
    response_model=ServiceHoldRead,
    errors=[EventNotFound, HoldNotFound, NotFound],
)
async def read_hold_of_user(
    event_id: ShowId, user_id: UserId, hold_id: HoldId, caller: FromService, reads: Reads
) -> HoldView:
    """Return a hold of a user, with the price of each place, for services."""
    return HoldView(await repository.find_hold(reads, event_id, hold_id, user_id), reads.now)


@router.delete(
    "/{event_id}/users/{user_id}/holds/{hold_id}",
    status_code=204,
    errors=[EventNotFound, HoldNotFound, NotFound, HoldInUse, HoldUsed],
)
async def release_hold_of_user(
    event_id: ShowId, user_id: UserId, hold_id: HoldId, caller: FromService, writer: Writer
) -> None:
    """Give the places of a user's hold back, for services. A hold that has ended stays as it is."""
    await writer.release(event_id, hold_id, user_id)


@router.put(
    "/{event_id}/holds/{hold_id}/claim",
    response_model=ServiceHoldRead,
    errors=[EventNotFound, HoldNotFound, HoldExpired, HoldInUse, HoldUsed, HoldLost],
)
async def claim_hold(
    event_id: ShowId, hold_id: HoldId, body: ClaimPut, caller: FromService, writer: Writer, reads: Reads
) -> HoldView:
    """Claim an active hold for a booking that is being paid. Until it is released or sold it does not expire. Safe to repeat."""
    hold = await writer.claim(event_id, hold_id, booking_id=body.booking_id, user_id=body.user_id)
    return HoldView(hold, reads.now)


@router.put(
    "/{event_id}/holds/{hold_id}/release",
    response_model=ServiceHoldRead,
    errors=[EventNotFound, HoldNotFound, HoldUsed],
)
async def release_claim(
    event_id: ShowId, hold_id: HoldId, body: ReleasePut, caller: FromService, writer: Writer, reads: Reads
) -> HoldView:
    """Give a claimed hold back: to its user for `HOLD_GRACE` at least, or to the public. Safe to repeat."""
    hold = await writer.release_claim(event_id, hold_id, booking_id=body.booking_id, keep=body.keep)
    return HoldView(hold, reads.now)


@router.put(
    "/{event_id}/holds/{hold_id}/sale",
    response_model=ServiceHoldRead,
    errors=[EventNotFound, HoldNotFound, HoldLost, EventCancelled],
)
async def sell_hold(
    event_id: ShowId, hold_id: HoldId, body: SalePut, caller: FromService, writer: Writer, reads: Reads
) -> HoldView:
    """Mark the places of a claimed hold as sold to the booking. Safe to repeat."""
    return HoldView(await writer.sell(event_id, hold_id, booking_id=body.booking_id), reads.now)


@router.put("/{event_id}/holds/{hold_id}/return", response_model=ServiceHoldRead, errors=[EventNotFound, HoldNotFound])
async def return_places(
    event_id: ShowId, hold_id: HoldId, body: ReturnPut, caller: FromService, writer: Writer, reads: Reads
) -> HoldView:
    """Return sold places of a booking, once per key. Places that are not sold to it are ignored."""
    places = [SoldPlaceKey(each.seat_id, each.section) for each in body.places]
    hold = await writer.return_places(event_id, hold_id, booking_id=body.booking_id, key=body.key, places=places)
    return HoldView(hold, reads.now)
