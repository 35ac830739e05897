"""The saga that notifies buyers and holders of transferred tickets of a show's new date or venue.

It publishes an event for each confirmed booking, and for each of its tickets that another user holds, in batches.
It starts in the transaction that stores the show's change, and runs after its commit.
"""

from typing import Final

from portico.contracts.bookings import BookingId, BookingRescheduled, RescheduledShow, TicketRescheduled
from portico.contracts.events import ShowId, ShowUpdated
from portico.kit import FOREVER, Saga, SagaState, Step, UnitOfWork, seconds
from portico.kit.sagas import start_saga
from portico.services.bookings.repository import Bookings
from portico.services.bookings.tickets.repository import Tickets

_BATCH: Final = 50


class RescheduleState(SagaState):
    """State of the announce-new-date saga. `after` is the last booking of the previous batch."""

    event_id: ShowId
    show: RescheduledShow
    after: BookingId | None = None


async def announce_to_bookings(state: RescheduleState, work: UnitOfWork) -> None:
    """Publish the change for the next confirmed bookings of the show. Another saga continues after them."""
    found = await Bookings(work).live_of_show(state.event_id, state.after, _BATCH)
    for booking_id in found:
        booking = await Bookings(work).get(booking_id, lock=True)
        if booking.status == "CONFIRMED":
            work.publish(booking.to_event(BookingRescheduled, show=state.show))
            for ticket in await Tickets(work).of_booking(booking_id):
                if ticket.status != "CANCELLED" and ticket.user_id != booking.user_id:
                    work.publish(ticket.to_event(TicketRescheduled, holder_id=ticket.user_id, show=state.show))
    if len(found) == _BATCH:
        await _start(work, state.with_(after=found[-1]))


announce_new_date = Saga(
    "announce-new-date",
    RescheduleState,
    Step("announce-to-bookings", announce_to_bookings, within=seconds(60), retry=FOREVER),
)


async def start(work: UnitOfWork, event: ShowUpdated) -> None:
    """Start to announce the new date and venue in an event."""
    show = RescheduledShow(
        event_name=event.event_name,
        event_date=event.event_date,
        time_zone=event.time_zone,
        venue_name=event.venue_name,
        full_refund_until=event.full_refund_until,
        revision=event.revision,
    )
    await _start(work, RescheduleState(event_id=event.event_id, show=show))


async def _start(work: UnitOfWork, state: RescheduleState) -> None:
    await start_saga(work, announce_new_date, state, subject=str(state.event_id))
