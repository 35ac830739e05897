"""The saga that cancels the bookings of a cancelled show, a batch in each transaction.

It starts in the transaction that stores the show's cancellation, and runs after its commit. A booking that it does not find is
made later, and finds the show cancelled before it is charged.
"""

from typing import Final

from portico.contracts.bookings import BookingId
from portico.contracts.events import ShowId
from portico.kit import FOREVER, Saga, SagaState, Step, UnitOfWork, seconds
from portico.kit.sagas import start_saga
from portico.services.bookings.cancellation import cancel_for_show
from portico.services.bookings.repository import Bookings

_BATCH: Final = 50


class ShowCancellationState(SagaState):
    """State of the cancel-show saga. `after` is the last booking of the previous batch."""

    event_id: ShowId
    after: BookingId | None = None


async def cancel_bookings(state: ShowCancellationState, work: UnitOfWork) -> None:
    """Cancel the next bookings of the show. Another saga continues after them."""
    found = await Bookings(work).live_of_show(state.event_id, state.after, _BATCH)
    for booking_id in found:
        await cancel_for_show(work, booking_id)
    if len(found) == _BATCH:
        await _start(work, state.with_(after=found[-1]))


cancel_show = Saga(
    "cancel-show",
    ShowCancellationState,
    Step("cancel-bookings", cancel_bookings, within=seconds(60), retry=FOREVER),
)


async def start(work: UnitOfWork, event_id: ShowId) -> None:
    """Start to cancel the bookings of a cancelled show."""
    await _start(work, ShowCancellationState(event_id=event_id))


async def _start(work: UnitOfWork, state: ShowCancellationState) -> None:
    await start_saga(work, cancel_show, state, subject=str(state.event_id))
