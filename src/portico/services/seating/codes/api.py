from typing import Annotated, Any

from fastapi import Path, Request, Response

from portico.contracts.events import ShowId
from portico.kit import (
    InvalidCursor,
    Money,
    NumberedPage,
    Principal,
    Reads,
    Router,
    Slice,
    Work,
    numbered_list,
    permitted,
)
from portico.kit.foundation import TooPrecise
from portico.services.seating.codes import repository, service
from portico.services.seating.codes.models import CodeRow
from portico.services.seating.codes.schemas import CodeCreate, CodeRead, CodeText
from portico.services.seating.errors import CodeNotFound, CodeTaken, EventNotFound
from portico.services.seating.repository import versions_of

router = Router(prefix="/inventory", tags=["codes"], description="Codes: discounts, and holds before the sale")

CodesWriter = Annotated[Principal, permitted("inventory:write")]


def _view(row: CodeRow) -> dict[str, Any]:
    amount = Money(row.amount_off, row.currency).amount if row.amount_off else None
    names = ("code", "kind", "max_seats", "used_seats", "valid_from", "valid_until", "created_at")
    return {
        **{name: getattr(row, name) for name in names},
        "percent_off": row.percent_off or None,
        "amount_off": amount,
    }


@router.post(
    "/{event_id}/codes", status_code=201, response_model=CodeRead, errors=[EventNotFound, CodeTaken, TooPrecise]
)
async def create_code(
    event_id: ShowId, draft: CodeCreate, caller: CodesWriter, work: Work, request: Request, response: Response
) -> dict[str, Any]:
    """Add a code to a show. Case is ignored when it is used."""
    row = await service.create_code(work, event_id, draft)
    response.headers["location"] = f"{request.url.path}/{row.code}"
    return _view(row)


@router.get("/{event_id}/codes", response_model=numbered_list("codes", CodeRead), errors=[EventNotFound, InvalidCursor])
async def list_codes(event_id: ShowId, caller: CodesWriter, reads: Reads, page: NumberedPage) -> Slice[dict[str, Any]]:
    """List the codes of a show, in alphabetical order."""
    await versions_of(reads, event_id)
    found = await repository.list_codes(reads, event_id, page)
    return found.with_rows([_view(row) for row in found.rows])


@router.delete("/{event_id}/codes/{used_code}", status_code=204, errors=[EventNotFound, CodeNotFound])
async def delete_code(
    event_id: ShowId, used_code: Annotated[CodeText, Path()], caller: CodesWriter, work: Work
) -> None:
    """Delete a code. Holds that were taken with it keep their prices."""
    await service.delete_code(work, event_id, used_code)
