from portico.contracts.events import ShowCreated, ShowDeleted, ShowStatusChanged, ShowUpdated
from portico.kit import UnitOfWork, consumes
from portico.services.seating import service


@consumes(ShowCreated, ShowUpdated, ShowStatusChanged, ShowDeleted, name="apply-show")
async def apply_show(event: ShowCreated | ShowUpdated | ShowStatusChanged | ShowDeleted, work: UnitOfWork) -> None:
    """Create, change or close the places of the show."""
    if isinstance(event, ShowDeleted):
        await service.apply_deletion(work, event)
    else:
        await service.apply_event(work, event)
