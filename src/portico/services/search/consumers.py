from portico.contracts.events import ShowCreated, ShowDeleted, ShowStatusChanged, ShowUpdated
from portico.kit import ServiceContext, UnitOfWork, consumes
from portico.services.search.document import Document
from portico.services.search.index.base import ShowIndex
from portico.services.search.service import apply_change


@consumes(ShowCreated, ShowUpdated, ShowStatusChanged, ShowDeleted, name="index-show")
async def index_show(
    event: ShowCreated | ShowUpdated | ShowStatusChanged | ShowDeleted, work: UnitOfWork, context: ServiceContext
) -> None:
    """Store the newest state of the show, and index it."""
    document = None if isinstance(event, ShowDeleted) else Document.of_event(event)
    index = context.resource(ShowIndex)  # type: ignore[type-abstract]  # the declared type is the interface
    await apply_change(work, index, event.event_id, document, revision=event.revision)
