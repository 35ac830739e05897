from portico.contracts.events import ShowCreated, ShowDeleted, ShowStatusChanged, ShowUpdated
from portico.kit import ServiceContext, UnitOfWork, consumes
from portico.services.seating import service
from portico.services.seating.holds.expiry import HoldExpiry
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
