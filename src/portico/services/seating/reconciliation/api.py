from typing import Annotated, Any, Final

from portico.contracts.events import ShowId
from portico.kit import Context, Principal, Reads, Router, Schema, permitted
from portico.services.seating.errors import EventNotFound
from portico.services.seating.reconciliation.domain import MismatchKind
from portico.services.seating.reconciliation.service import reconcile

router = Router(prefix="/inventory", tags=["inventory"], description="Places of shows, and who holds them")

InventoryReader = Annotated[Principal, permitted("inventory:read")]
_MAX_MISMATCHES: Final = 1_000


class MismatchRead(Schema):
    """Two records that disagree: what was expected of a place or a section, and what was found."""

    kind: MismatchKind
    place: str
    expected: str
    found: str


class ReconciliationRead(Schema):
    """The mismatches of seats, holds and tickets; none if all agree."""

    event_id: ShowId
    mismatches: list[MismatchRead]


@router.get("/{event_id}/reconcile", response_model=ReconciliationRead, errors=[EventNotFound])
async def reconcile_show(event_id: ShowId, caller: InventoryReader, reads: Reads, context: Context) -> dict[str, Any]:
    """Compare the places of a show with its holds and with the tickets of its bookings. At most a thousand mismatches.

    A booking that is confirmed at this moment can be reported; it is not when the comparison is repeated.
    """
    found = await reconcile(context, reads, event_id, limit=_MAX_MISMATCHES)
    return {"event_id": event_id, "mismatches": found}
