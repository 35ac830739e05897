"""The saga that makes a booking: claim the hold, charge, sell the places, issue the tickets.

It can be undone until the places are sold. Undoing releases the hold: back to its user for a while if another payment may be
tried with it, otherwise to the public.
"""

from collections.abc import Iterable
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict

from portico.contracts.bookings import (
    BookedPlace,
    BookingCancelled,
    BookingConfirmed,
    BookingExpired,
    BookingFailed,
    BookingId,
)
from portico.contracts.events import ShowId
from portico.contracts.payments import PaymentId, PaymentsClient
from portico.contracts.seating import HoldId, SeatingClient
from portico.kit import (
    FOREVER,
    AbortSaga,
    Calls,
    Money,
    Saga,
    SagaState,
    Step,
    StepPending,
    UndoReason,
    UnitOfWork,
    UserId,
    seconds,
)
from portico.kit.calls import Refused
from portico.kit.sagas import start_saga
from portico.services.bookings.domain import Place
from portico.services.bookings.repository import PAYMENT_DECLINED, Bookings, Shows
from portico.services.bookings.tickets.service import issue

HOLD_LOST: Final = "hold_lost"
EVENT_CANCELLED: Final = "event_cancelled"
_LOST: Final = frozenset({"hold_not_found", "hold_expired", "hold_in_use", "hold_used", HOLD_LOST})
_DEADLINES: Final = frozenset({"saga_deadline_passed", "step_deadline_passed"})
_CHARGE_POLL: Final = 0.5  # seconds between checks of the outcome of a charge
_UNTIL_DEADLINE: Final = 10_000  # retries of a step; the deadline of the booking ends them


class PlaceNames(BaseModel):
    """The places of a booking as seating names them: seats, and the sections of standing places."""

    model_config = ConfigDict(frozen=True)

    seats: tuple[str, ...] = ()
    standing: tuple[str, ...] = ()

    @classmethod
    def of(cls, places: Iterable[Place]) -> Self:
        """Return the names of these places."""
        chosen = list(places)
        return cls(
            seats=tuple(seat_id for each in chosen if (seat_id := each["seat_id"]) is not None),
            standing=tuple(each["section"] for each in chosen if each["seat_id"] is None),
        )

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The places as seating's client takes them."""
        return [*({"seat_id": each} for each in self.seats), *({"section": each} for each in self.standing)]


class BookingState(SagaState):
    """State of the make-booking saga.

    keeps_hold: whether the hold goes back to its user if the booking fails.
    payment_tries: how many payments with the hold may be declined before it is released; None if `keeps_hold` says it.
    is_hold_given_back: whether the claim of the hold was undone.
    """

    booking_id: BookingId
    event_id: ShowId
    user_id: UserId
    hold_id: HoldId
    places: PlaceNames
    amount_minor: int
    currency: str
    payment_method: str | None
    keeps_hold: bool
    payment_tries: int | None = None
    payment_id: PaymentId | None = None
    is_hold_given_back: bool = False

    @property
    def is_free(self) -> bool:
        """Whether there is nothing to pay."""
        return self.amount_minor == 0


async def claim_hold(state: BookingState, calls: Calls) -> None:
    """Claim the hold, so that it does not expire while it is paid."""
    try:
        await calls(SeatingClient).claim(
            state.hold_id, state.event_id, booking_id=state.booking_id, user_id=state.user_id
        )
    except Refused as refused:
        _abort_if_lost(refused)
        raise


async def release_hold(state: BookingState, calls: Calls) -> BookingState:
    """Give the hold back. If its places were sold by a request that arrived late, return them."""
    seating = calls(SeatingClient)
    try:
        await seating.release_claim(state.hold_id, state.event_id, booking_id=state.booking_id, keep=state.keeps_hold)
    except Refused as refused:
        if refused.code == "hold_used":
            await _return_all(state, calls, key=f"{state.booking_id}/release")
        elif refused.code not in _LOST:
            raise
    return state.with_(is_hold_given_back=True)


async def release_unclaimed_hold(state: BookingState, calls: Calls) -> None:
    """Release the hold of a booking that ended before it claimed it, unless another booking has it."""
    try:
        await calls(SeatingClient).release(state.hold_id, state.event_id, user_id=state.user_id)
    except Refused as refused:
        if refused.code not in _LOST:
            raise


async def check_show(state: BookingState, work: UnitOfWork) -> None:
    """Stop if the show was cancelled."""
    show = await Shows(work).find(state.event_id)
    if show is not None and show.is_cancelled:
        raise AbortSaga("The show was cancelled.", code=EVENT_CANCELLED)


async def decide_hold(state: BookingState, work: UnitOfWork) -> BookingState:
    """Keep no hold for a buyer who cancelled the booking, or whose payments were declined too often."""
    if not state.keeps_hold:
        return state
    booking = await Bookings(work).get(state.booking_id)
    is_last = state.payment_tries is not None and (
        await Bookings(work).declines(state.hold_id) + 1 >= state.payment_tries
    )
    return state if booking.cancel_requested_at is None and not is_last else state.with_(keeps_hold=False)


async def take_payment(state: BookingState, calls: Calls) -> BookingState:
    """Charge the amount. The key makes repeated attempts charge once."""
    if state.is_free:
        return state
    payment = await calls(PaymentsClient).charge(
        key=charge_key(state.booking_id),
        booking_id=state.booking_id,
        user_id=state.user_id,
        amount=Money(state.amount_minor, state.currency),
        method=state.payment_method or "",
    )
    if payment.status == "processing":
        raise StepPending(_CHARGE_POLL)
    if payment.status != "succeeded":
        reason = payment.failure_reason or payment.status
        raise AbortSaga(f"The payment was declined: {reason}", code=PAYMENT_DECLINED)
    return state.with_(payment_id=payment.payment_id)


async def void_payment(state: BookingState, calls: Calls) -> None:
    """Void the charge: refund it, and reject a charge with the same key that arrives later."""
    if not state.is_free:
        await calls(PaymentsClient).void(charge_key(state.booking_id))


async def sell_places(state: BookingState, calls: Calls) -> None:
    """Mark the places of the hold as sold to the booking."""
    try:
        await calls(SeatingClient).sell(state.hold_id, state.event_id, booking_id=state.booking_id)
    except Refused as refused:
        _abort_if_lost(refused)
        raise


async def return_places(state: BookingState, calls: Calls) -> None:
    """Return the places if they were sold."""
    await _return_all(state, calls, key=f"{state.booking_id}/undo")


async def confirm(state: BookingState, work: UnitOfWork) -> None:
    """Confirm the booking and issue its tickets, unless its cancellation was requested: the saga is then undone."""
    booking = await Bookings(work).get(state.booking_id, lock=True)
    if booking.cancel_requested_at is not None:
        return
    booking.confirm(state.payment_id, now=work.now)
    await issue(work, booking)
    places = tuple(BookedPlace.model_validate(place) for place in booking.places)
    work.publish(booking.to_event(BookingConfirmed, places=places))
    work.changes(booking.booking_id)


async def end_booking(state: BookingState, work: UnitOfWork, why: UndoReason) -> None:
    """Mark the booking as cancelled, expired or failed. Its hold and payment are released already.

    The exception is a hold that it had not claimed when it ended. Another saga releases it if the booking took it itself, or
    if the buyer cancelled the booking.
    """
    booking = await Bookings(work).get(state.booking_id, lock=True)
    is_released = state.is_hold_given_back and not state.keeps_hold
    if not is_released and (not state.keeps_hold or booking.cancel_requested_at is not None):
        await start_saga(work, release_hold_of_ended_booking, state, subject=booking.booking_id)
    if why.code == EVENT_CANCELLED or (not why.requested and why.code not in _DEADLINES):
        booking.fail(_failure_code(why.code), why.reason, now=work.now)
        work.publish(booking.to_event(BookingFailed))
    elif why.requested:
        booking.cancel_unpaid(now=work.now)
        work.publish(booking.to_event(BookingCancelled, remaining=0, is_show_cancelled=False))
    else:
        booking.expire(why.reason, now=work.now)
        work.publish(booking.to_event(BookingExpired))
    work.changes(booking.booking_id)


# Another process takes over a step `within` plus a margin after the process running it died.
make_booking = Saga(
    "make-booking",
    BookingState,
    Step("claim-hold", claim_hold, undo=release_hold, within=seconds(5), retry=_UNTIL_DEADLINE),
    Step("check-show", check_show, undo=decide_hold),
    Step("take-payment", take_payment, undo=void_payment, within=seconds(15), retry=_UNTIL_DEADLINE),
    Step("sell-places", sell_places, record=confirm, undo=return_places, within=seconds(5), retry=_UNTIL_DEADLINE),
    when_undone=end_booking,
)

release_hold_of_ended_booking = Saga(
    "release-unclaimed-hold",
    BookingState,
    Step("release-hold", release_unclaimed_hold, within=seconds(5), retry=FOREVER),
)


def charge_key(booking_id: BookingId) -> str:
    """Return the idempotency key of the booking's charge."""
    return f"booking:{booking_id}"


async def _return_all(state: BookingState, calls: Calls, *, key: str) -> None:
    await calls(SeatingClient).return_places(
        state.hold_id, state.event_id, booking_id=state.booking_id, key=key, places=state.places.documents
    )


def _abort_if_lost(refused: Refused) -> None:
    """Raise AbortSaga if the refusal means that the places cannot be sold to this booking."""
    detail = refused.problem.get("detail")
    reason = detail if isinstance(detail, str) else str(refused)
    if refused.code == EVENT_CANCELLED:
        raise AbortSaga(reason, code=EVENT_CANCELLED) from refused
    if refused.code in _LOST:
        raise AbortSaga(reason, code=HOLD_LOST) from refused


def _failure_code(code: str) -> str:
    """Return a code for the API: names of internal exceptions become `service_unavailable`."""
    return code if code.islower() else "service_unavailable"
