from decimal import Decimal
from functools import partial
from typing import Annotated

from fastapi import Header, Query, Request, Response

from portico.contracts.bookings import BookingId, BookingStatus, BookingTotal
from portico.contracts.events import ShowId
from portico.contracts.payments import PaymentsClient, PaymentSummary
from portico.contracts.seating import HoldId, HoldSummary, SeatingClient
from portico.kit import (
    Calls,
    Context,
    FromService,
    InvalidCursor,
    Money,
    NumberedPage,
    Principal,
    Problem,
    Reads,
    Router,
    SignedIn,
    Slice,
    Socket,
    TooManyRequests,
    UserId,
    Work,
    numbered_list,
    permitted,
)
from portico.kit.data import slice_of_list
from portico.kit.foundation import PermissionMissing, TooPrecise, json_number
from portico.kit.http import MAX_LIMIT, TimelineEventRead
from portico.kit.sagas import SagaOfAnotherVersion, TimelineEvent, subject_timeline
from portico.kit.settings import database_for
from portico.services.bookings import cancellation, service
from portico.services.bookings.domain import COMPLIMENTARY, is_final, offer_of
from portico.services.bookings.errors import (
    HOLD_PROBLEMS,
    BookingNotFound,
    CancellationClosed,
    EventNotFound,
    IllegalTransition,
    PaymentMethodMissing,
    PriceChanged,
    ShowUnknown,
)
from portico.services.bookings.hold_reader import derived_hold_id, read_hold, take_hold
from portico.services.bookings.models import Booking
from portico.services.bookings.repository import READ_ALL, WRITE_ALL, Bookings
from portico.services.bookings.schemas import (
    BookingCreate,
    BookingPaymentRead,
    BookingRead,
    BookingTotalRead,
    CancellationCreate,
    LiveStatusRead,
    SummaryRead,
)
from portico.services.bookings.service import Draft
from portico.services.bookings.settings import BookingsSettings
from portico.services.bookings.show_summary import ShowSummary, summarize_show
from portico.services.bookings.tickets.errors import TicketNotFound, TicketTransferred, TicketUsed

router = Router(prefix="/bookings", tags=["bookings"], description="Bookings of places of shows, and their progress")

BookingsReader = Annotated[Principal, permitted(READ_ALL)]
MAX_IDS = 100
DEFAULT_METHOD = "pm_ok"  # of the simulated provider

AdmissionHeader = Annotated[
    str | None, Header(alias="X-Admission-Token", max_length=1000, description="Token of the waiting room")
]


@router.post(
    "",
    status_code=201,
    response_model=BookingRead,
    calls_services=True,
    grouped=True,
    errors=[*HOLD_PROBLEMS, PriceChanged, PaymentMethodMissing, TooPrecise, TooManyRequests],
)
async def make_booking(
    draft: BookingCreate,
    caller: SignedIn,
    work: Work,
    context: Context,
    request: Request,
    response: Response,
    admission: AdmissionHeader = None,
) -> Booking:
    """Book the places of a hold; without a hold, take one first. If the hold is refused, no booking is created.

    The booking starts as `PENDING`. It is paid in the background; `status` shows the progress.
    """
    user_id = draft.user_id or caller.user_id
    is_complimentary = draft.payment_method == COMPLIMENTARY
    if (user_id != caller.user_id or is_complimentary) and not caller.may(WRITE_ALL):
        raise PermissionMissing(permission=WRITE_ALL)
    calls = context.calls()
    hold = await _hold_for(draft, calls, user_id, key=request.headers.get("idempotency-key"), admission=admission)
    offer = offer_of(hold, complimentary=is_complimentary)
    is_own_hold = draft.hold_id is None
    try:
        _check_amount(draft.amount, offer.amount)
        method = draft.payment_method or (None if not offer.amount_minor else _default_method(context))
    except Problem:
        if is_own_hold:
            await calls(SeatingClient).release(hold.hold_id, draft.event_id, user_id=user_id)
        raise
    booking = await service.book(
        work,
        Draft(BookingId.new(), draft.event_id, user_id, hold.hold_id, is_own_hold, offer, method),
        context.settings_of(BookingsSettings),
    )
    response.headers["location"] = f"{request.url.path}/{booking.booking_id}"
    return booking


@router.get("/totals", response_model=list[BookingTotalRead])
async def list_totals(
    _caller: FromService,
    reads: Reads,
    booking_id: Annotated[list[BookingId] | None, Query(max_length=MAX_IDS, description="Only these")] = None,
    after: Annotated[BookingId | None, Query(description="The last booking of the previous page")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
) -> list[BookingTotal]:
    """List what was paid for bookings, oldest first, for services."""
    return await Bookings(reads).totals(booking_id or (), after, limit)


@router.get("", response_model=numbered_list("bookings", BookingRead), errors=[InvalidCursor])
async def list_bookings(
    page: NumberedPage,
    caller: SignedIn,
    reads: Reads,
    event_id: Annotated[ShowId | None, Query()] = None,
    status: Annotated[BookingStatus | None, Query()] = None,
) -> Slice[Booking]:
    """List the caller's bookings, or all bookings with `bookings:read`, newest first."""
    of_show = None if event_id is None else Booking.event_id == event_id
    of_status = None if status is None else Booking.status == status
    return await Bookings(reads).page_visible(page, caller, of_show, of_status)


@router.get("/summary", response_model=SummaryRead, errors=[EventNotFound])
async def read_summary(event_id: Annotated[ShowId, Query()], caller: BookingsReader, reads: Reads) -> ShowSummary:
    """Return how much of a show is booked and checked in, and what was paid and refunded."""
    return await summarize_show(reads, event_id)


@router.get("/{booking_id}", response_model=BookingRead, errors=[BookingNotFound])
async def read_booking(booking_id: BookingId, caller: SignedIn, reads: Reads) -> Booking:
    """Return one of the caller's bookings, or any booking with `bookings:read`."""
    return await Bookings(reads).get_visible(booking_id, caller)


@router.get(
    "/{booking_id}/timeline",
    response_model=numbered_list("entries", TimelineEventRead),
    errors=[BookingNotFound, InvalidCursor],
)
async def read_timeline(
    booking_id: BookingId, page: NumberedPage, caller: SignedIn, reads: Reads
) -> Slice[TimelineEvent]:
    """List every saga step and event of the booking, with times, outcomes and errors, oldest first."""
    await Bookings(reads).get_visible(booking_id, caller)
    found = await subject_timeline(reads, booking_id)
    return slice_of_list(found, page, name="timeline", key=lambda each: each.key)


@router.get(
    "/{booking_id}/payments",
    response_model=numbered_list("payments", BookingPaymentRead),
    errors=[BookingNotFound, InvalidCursor],
)
async def list_booking_payments(
    booking_id: BookingId, page: NumberedPage, caller: SignedIn, reads: Reads, context: Context
) -> Slice[PaymentSummary]:
    """List the payments of the booking with what was charged and refunded, newest first."""
    await Bookings(reads).get_visible(booking_id, caller)
    found = await context.calls()(PaymentsClient).of_booking(booking_id)
    return slice_of_list(found, page, name="payments", key=lambda each: each.payment_id)


@router.post(
    "/{booking_id}/cancel",
    response_model=BookingRead,
    errors=[
        BookingNotFound,
        IllegalTransition,
        CancellationClosed,
        ShowUnknown,
        TicketNotFound,
        TicketUsed,
        TicketTransferred,
        SagaOfAnotherVersion,
    ],
    framework={"responses": {202: {"model": BookingRead}}},
)
async def cancel_booking(
    booking_id: BookingId, caller: SignedIn, work: Work, response: Response, draft: CancellationCreate | None = None
) -> Booking:
    """Cancel a booking or some of its tickets: the caller's own, or any booking with `bookings:write`.

    Places are returned and tickets refunded in the background. 202 means that the booking is still being paid: the running
    step ends first, then hold and payment are taken back.
    """
    booking = await cancellation.cancel_booking(
        work,
        booking_id,
        caller,
        ticket_ids=None if draft is None else draft.ticket_ids,
        reason=None if draft is None else draft.reason,
        percent=None if draft is None else draft.refund_percent,
    )
    if booking.status == "PENDING":
        response.status_code = 202
    return booking


@router.websocket("/{booking_id}/live", errors=[BookingNotFound])
async def follow_booking(
    booking_id: BookingId, caller: SignedIn, reads: Reads, socket: Socket, context: Context
) -> None:
    """Send the booking's status and each change of it, until the status is final."""
    bookings = Bookings(reads)
    await bookings.get_visible(booking_id, caller)
    await socket.accept()
    with context.change_notifier.follow(booking_id) as changed:
        await socket.send_changes(
            partial(bookings.live_status, booking_id),
            LiveStatusRead.of,
            changed=changed,
            poll=context.settings_of(BookingsSettings).live_poll,
            is_final=lambda row: is_final(row.status),
        )


async def _hold_for(
    draft: BookingCreate, calls: Calls, user_id: UserId, *, key: str | None, admission: str | None
) -> HoldSummary:
    """Return the hold that is booked; take one if the caller names none."""
    if draft.hold_id is not None:
        return await read_hold(calls, draft.hold_id, draft.event_id, user_id=user_id)
    wanted = draft.wanted
    hold_id = HoldId.new() if key is None else derived_hold_id(user_id, draft.event_id, wanted, key)
    return await take_hold(calls, hold_id, draft.event_id, user_id=user_id, wanted=wanted, admission=admission)


def _check_amount(expected: Decimal | None, actual: Money) -> None:
    """Raise PriceChanged if the places do not cost what the caller expects."""
    if expected is not None and Money.of(expected, actual.currency) != actual:
        raise PriceChanged(actual=json_number(actual.minor, actual.currency), currency=actual.currency)


def _default_method(context: Context) -> str:
    """Return the simulated provider's default method on an embedded database. Raises PaymentMethodMissing."""
    if not database_for(context.settings, context.name).embedded:
        raise PaymentMethodMissing
    return DEFAULT_METHOD
