from portico.contracts.events import ShowCreated, ShowDeleted, ShowStatusChanged, ShowUpdated
from portico.contracts.seating import SeatsSold
from portico.kit import ServiceContext, UnitOfWork, consumes
from portico.services.seating import service
from portico.services.seating.holds.expiry import HoldExpiry
from portico.services.seating.queue.service import end_admission_of_buyer
from portico.services.seating.queue.writer import QueueWriter, limits_of
from portico.services.seating.settings import SeatingSettings
from portico.services.seating.waitlist import service as waitlist
from portico.services.seating.waitlist.offers import offers_of


@consumes(ShowCreated, ShowUpdated, ShowStatusChanged, ShowDeleted, name="apply-show")
async def apply_show(
    event: ShowCreated | ShowUpdated | ShowStatusChanged | ShowDeleted, work: UnitOfWork, context: ServiceContext
) -> None:
    """Create, change or close the places of the show. If it is cancelled or deleted, its holds end.

    Places that it gained are offered to the waiting list.
    """
    if isinstance(event, ShowDeleted):
        await service.apply_deletion(work, event)
    else:
        await service.apply_event(work, event)
    await waitlist.follow_show(work, event.event_id, offers_of(context))
    await service.update_exhaustion(work, event.event_id)
    work.after_commit(context.resource(HoldExpiry).wake)


@consumes(SeatsSold, name="end-admission-of-buyer")
async def end_admission(event: SeatsSold, work: UnitOfWork, context: ServiceContext) -> None:
    """End the admission of a user who has bought places, so that the next in the waiting room is admitted."""
    limits, writer = limits_of(context.settings_of(SeatingSettings)), context.resource(QueueWriter)
    await end_admission_of_buyer(work, event, limits, writer.holders)
