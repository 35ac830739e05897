"""Use cases of bookings: make one. `cancellation.py` has those that cancel."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from portico.contracts.bookings import BookingCreated, BookingId
from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import Problem, UnitOfWork, UserId
from portico.kit.sagas import start_saga
from portico.services.bookings import saga
from portico.services.bookings.domain import Offer
from portico.services.bookings.errors import HoldInUse, HoldUsed
from portico.services.bookings.models import Booking
from portico.services.bookings.repository import Bookings
from portico.services.bookings.saga import BookingState, PlaceNames
from portico.services.bookings.settings import BookingsSettings


@dataclass(frozen=True, slots=True)
class Draft:
    """A booking that is about to be made.

    is_own_hold: whether the hold was taken for it.
    """

    booking_id: BookingId
    event_id: ShowId
    user_id: UserId
    hold_id: HoldId
    is_own_hold: bool
    offer: Offer
    payment_method: str | None


async def book(work: UnitOfWork, draft: Draft, settings: BookingsSettings) -> Booking:
    """Create a booking and start the saga that claims its hold, charges for it and sells its places.

    The booking is inserted together with others of the same moment. Whether its hold is free is known then.

    Raises:
        HoldInUse: another booking pays for the hold.
        HoldUsed: the places of the hold are sold to another booking.
    """
    booking = _pending(draft, work)
    await Bookings(work).insert(work, booking, refuse=partial(_hold_problem, hold_id=draft.hold_id))
    state = _initial_state(draft, payment_tries=settings.payment_tries)
    deadline = timedelta(seconds=settings.booking_deadline)
    await start_saga(work, saga.make_booking, state, subject=booking.booking_id, deadline=deadline)
    work.publish(booking.to_event(BookingCreated))
    return booking


async def _hold_problem(work: UnitOfWork, *, hold_id: HoldId) -> Problem:
    """Return the problem of a hold that another booking has."""
    other = await Bookings(work).of_hold(hold_id)
    if other is not None and other.status != "PENDING":
        return HoldUsed(hold_id=hold_id, booking_id=other.booking_id)
    return HoldInUse(hold_id=hold_id)


def _pending(draft: Draft, work: UnitOfWork) -> Booking:
    offer = draft.offer
    return Booking(
        booking_id=draft.booking_id,
        event_id=draft.event_id,
        user_id=draft.user_id,
        hold_id=draft.hold_id,
        live_hold_id=draft.hold_id,
        is_own_hold=draft.is_own_hold,
        status="PENDING",
        places=list(offer.places),
        quantity=len(offer.places),
        currency=offer.currency,
        amount_minor=offer.amount_minor,
        discount_minor=offer.discount_minor,
        refunded_minor=0,
        payment_method=draft.payment_method,
        created_at=work.now,
        updated_at=work.now,
    )


def _initial_state(draft: Draft, *, payment_tries: int) -> BookingState:
    offer = draft.offer
    return BookingState(
        booking_id=draft.booking_id,
        event_id=draft.event_id,
        user_id=draft.user_id,
        hold_id=draft.hold_id,
        places=PlaceNames.of(offer.places),
        amount_minor=offer.amount_minor,
        currency=offer.currency,
        payment_method=draft.payment_method,
        keeps_hold=not draft.is_own_hold,
        payment_tries=payment_tries,
    )
