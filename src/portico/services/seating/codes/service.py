"""Use cases of codes."""

from portico.contracts.events import ShowId
from portico.kit import Money, UnitOfWork
from portico.services.seating.codes.domain import code_key
from portico.services.seating.codes.models import CodeRow
from portico.services.seating.codes.repository import remove_code
from portico.services.seating.codes.schemas import CodeCreate
from portico.services.seating.errors import CodeNotFound, CodeTaken, EventNotFound
from portico.services.seating.models import Show
from portico.services.seating.repository import find_show


async def create_code(work: UnitOfWork, show_id: ShowId, draft: CodeCreate) -> CodeRow:
    """Add a code to a show.

    Raises:
        EventNotFound: the show does not exist.
        CodeTaken: the show has this code already.
        TooPrecise: the amount has too many decimals for the show's currency.
    """
    show = await _lock_open_show(work, show_id)
    amount = 0 if draft.amount_off is None else Money.of(draft.amount_off, show.currency).minor
    row = CodeRow(
        show_id=show_id,
        code_key=code_key(draft.code),
        code=draft.code,
        kind=draft.kind,
        percent_off=draft.percent_off or 0,
        amount_off=amount,
        currency=show.currency,
        max_seats=draft.max_seats,
        used_seats=0,
        valid_from=draft.valid_from,
        valid_until=draft.valid_until,
        created_at=work.now,
    )
    await work.insert(row, duplicate=CodeTaken(code_in_use=draft.code))
    return row


async def delete_code(work: UnitOfWork, show_id: ShowId, code: str) -> None:
    """Delete a code. Holds that were taken with it keep their prices. Raises EventNotFound, CodeNotFound."""
    await _lock_open_show(work, show_id)
    if not await remove_code(work, show_id, code_key(code)):
        raise CodeNotFound(used_code=code)


async def _lock_open_show(work: UnitOfWork, show_id: ShowId) -> Show:
    show = await find_show(work, show_id)
    if show is None or show.is_closed:
        raise EventNotFound(event_id=show_id)
    return show
