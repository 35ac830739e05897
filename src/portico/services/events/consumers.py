from portico.contracts.seating import SalesExhausted, SalesResumed
from portico.kit import UnitOfWork, consumes
from portico.services.events import service


@consumes(SalesExhausted, SalesResumed, name="apply-exhaustion")
async def apply_exhaustion(event: SalesExhausted | SalesResumed, work: UnitOfWork) -> None:
    """Change the show to SOLD_OUT with its last place, and back to ON_SALE when places return."""
    is_exhausted = isinstance(event, SalesExhausted)
    await service.apply_exhaustion(work, event.event_id, event.number, is_exhausted=is_exhausted)
