from portico.contracts.events import ShowCreated, ShowDeleted, ShowStatusChanged, ShowUpdated
from portico.kit import UnitOfWork, consumes
from portico.services.bookings import reschedule, show_cancellation
from portico.services.bookings.repository import Shows


@consumes(ShowCreated, ShowUpdated, ShowStatusChanged, name="save-show")
async def save_show(event: ShowCreated | ShowUpdated | ShowStatusChanged, work: UnitOfWork) -> None:
    """Store the newest state of the show. Cancel its bookings if it was cancelled, or tell them of a new date or venue."""
    if await Shows(work).save(event):
        await show_cancellation.start(work, event.event_id)
    if isinstance(event, ShowUpdated) and event.is_rescheduled:
        await reschedule.start(work, event)


@consumes(ShowDeleted, name="forget-show")
async def forget_show(event: ShowDeleted, work: UnitOfWork) -> None:
    """Delete what is known of the show. It never had a booking."""
    await Shows(work).delete(event.event_id)
