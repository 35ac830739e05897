"""Cancel bookings: void their tickets, return their places, refund their price.

The row of the booking decides, in one transaction. A saga then returns the places and refunds, and retries until it succeeds.
"""

from collections.abc import Collection, Sequence
from decimal import Decimal

from portico.contracts.bookings import BookingCancelled, BookingId, TicketId
from portico.contracts.events import ShowId
from portico.contracts.payments import PaymentId, PaymentsClient
from portico.contracts.seating import HoldId, SeatingClient
from portico.kit import FOREVER, Calls, Money, Principal, Saga, SagaState, Step, UnitOfWork, seconds
from portico.kit.calls import Refused
from portico.kit.foundation import PermissionMissing
from portico.kit.sagas import request_undo, start_saga
from portico.services.bookings.domain import refund_minor
from portico.services.bookings.errors import CancellationClosed, ShowUnknown
from portico.services.bookings.models import Booking
from portico.services.bookings.repository import WRITE_ALL, Bookings, Shows
from portico.services.bookings.saga import EVENT_CANCELLED, PlaceNames, make_booking
from portico.services.bookings.tickets.models import Ticket
from portico.services.bookings.tickets.repository import Tickets
from portico.services.bookings.tickets.service import void

SHOW_CANCELLED = "The show was cancelled."


class CancellationState(SagaState):
    """State of the cancel-tickets saga. `key` names the cancellation, so that it refunds and returns places once."""

    booking_id: BookingId
    event_id: ShowId
    hold_id: HoldId
    key: str
    places: PlaceNames
    payment_id: PaymentId | None
    refund_minor: int
    currency: str


async def return_places(state: CancellationState, calls: Calls) -> None:
    """Return the places of the cancelled tickets."""
    await calls(SeatingClient).return_places(
        state.hold_id, state.event_id, booking_id=state.booking_id, key=state.key, places=state.places.documents
    )


async def refund(state: CancellationState, calls: Calls) -> None:
    """Refund the cancelled tickets, or what is left if staff has refunded more at payments."""
    if state.payment_id is None or not state.refund_minor:
        return
    payments, amount = calls(PaymentsClient), Money(state.refund_minor, state.currency)
    try:
        await payments.refund(state.payment_id, key=state.key, amount=amount)
    except Refused as refused:
        if refused.code == "refund_key_reused":
            return  # an earlier attempt has refunded what was left
        if refused.code != "refund_exceeds_charge":
            raise
        left = Money.of(Decimal(str(refused.problem["left"])), state.currency)
        if left.minor > 0:
            await payments.refund(state.payment_id, key=state.key, amount=left)


cancel_tickets = Saga(
    "cancel-tickets",
    CancellationState,
    Step("return-places", return_places, within=seconds(5), retry=FOREVER),
    Step("refund-tickets", refund, within=seconds(15), retry=FOREVER),
)


async def cancel_booking(
    work: UnitOfWork,
    booking_id: BookingId,
    caller: Principal,
    *,
    ticket_ids: Collection[TicketId] | None,
    reason: str | None,
    percent: int | None,
) -> Booking:
    """Cancel a booking or some of its tickets: the caller's own, or any with `bookings:write`.

    A booking that is still being paid is cancelled after its running saga step has ended and the earlier ones are undone.

    Without `ticket_ids` all tickets are cancelled. Without `percent` (of the price of each ticket) the show's percentage is refunded.

    Raises:
        BookingNotFound: the booking does not exist, or the caller may not see it.
        PermissionMissing: the caller may see the booking but not change it, or may not choose the refund.
        IllegalTransition: the booking has failed or expired.
        CancellationClosed: the buyer is too late.
        ShowUnknown: the events of the show were not delivered yet.
        TicketNotFound, TicketUsed, TicketTransferred: a ticket cannot be cancelled. None is.
        SagaOfAnotherVersion: another version of this service is making the booking.
    """
    booking = await Bookings(work).get_changeable(booking_id, caller)
    is_staff = caller.may(WRITE_ALL)
    if percent is not None and not is_staff:
        raise PermissionMissing(permission=WRITE_ALL)
    if booking.status == "CANCELLED":
        return booking
    if booking.status == "PENDING":
        await _request_cancellation(work, booking, reason, said_by=caller.subject)
        return booking
    booking.ensure_can_change_to("CANCELLED")
    show = await Shows(work).find(booking.event_id)
    if show is None:
        raise ShowUnknown(retry_after=1)
    if not is_staff and work.now >= show.cancellations_close_at:
        raise CancellationClosed(booking_id=booking_id, closed_at=show.cancellations_close_at)
    percent = show.refund_percent_at(work.now) if percent is None else percent
    tickets = await void(work, booking, ticket_ids)
    await _cancel_tickets(work, booking, tickets, percent=percent, reason=reason, is_show_cancelled=False)
    return booking


async def cancel_for_show(work: UnitOfWork, booking_id: BookingId) -> None:
    """Cancel a booking of a cancelled show: refund it in full, and void its tickets, also used and transferred ones."""
    booking = await Bookings(work).get(booking_id, lock=True)
    if booking.status == "PENDING" and booking.cancel_requested_at is None:
        booking.request_cancellation(SHOW_CANCELLED, now=work.now)
        await request_undo(work, make_booking, booking_id, reason=SHOW_CANCELLED, code=EVENT_CANCELLED)
    elif booking.status == "CONFIRMED":
        tickets = await void(work, booking, is_final=True)
        await _cancel_tickets(work, booking, tickets, percent=100, reason=SHOW_CANCELLED, is_show_cancelled=True)


async def _request_cancellation(work: UnitOfWork, booking: Booking, reason: str | None, *, said_by: str) -> None:
    booking.request_cancellation(reason, now=work.now)
    await request_undo(work, make_booking, booking.booking_id, reason=f"{said_by} cancelled the booking")
    work.changes(booking.booking_id)


async def _cancel_tickets(
    work: UnitOfWork,
    booking: Booking,
    tickets: Sequence[Ticket],
    *,
    percent: int,
    reason: str | None,
    is_show_cancelled: bool,
) -> None:
    """Refund tickets that were voided in this unit of work, and return their places."""
    if not tickets:
        return
    every = await Tickets(work).of_booking(booking.booking_id)
    remaining = sum(ticket.status != "CANCELLED" for ticket in every)
    refunded = sum(refund_minor(ticket.price_minor, percent) for ticket in tickets)
    state = CancellationState(
        booking_id=booking.booking_id,
        event_id=booking.event_id,
        hold_id=booking.hold_id,
        key=f"{booking.booking_id}/cancel/{booking.revision}",
        places=PlaceNames.of([booking.places[ticket.place] for ticket in tickets]),
        payment_id=booking.payment_id,
        refund_minor=refunded,
        currency=booking.currency,
    )
    booking.refund(refunded, reason, whole=not remaining, now=work.now)
    await start_saga(work, cancel_tickets, state, subject=booking.booking_id)
    work.publish(booking.to_event(BookingCancelled, remaining=remaining, is_show_cancelled=is_show_cancelled))
    work.changes(booking.booking_id)
