"""SQL of codes. The row of the show is locked before its codes are changed."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update

from portico.contracts.events import ShowId
from portico.kit import Keyset, Reader, Slice, UnitOfWork, Window
from portico.kit.data import Statement
from portico.services.seating.codes.domain import Code, Discount
from portico.services.seating.codes.models import CodeRow

CODES: Any = CodeRow.__table__

_ORDER = Keyset.by("code", CodeRow.code_key)
_COUNT_SEATS = Statement(
    update(CODES)
    .where(CODES.c.show_id == bindparam("show"), CODES.c.code_key == bindparam("key"))
    .values(used_seats=bindparam("used"))
)


async def load_codes(reader: Reader, show_id: ShowId, keys: Iterable[str]) -> dict[str, Code]:
    """Return the codes of a show that exist among these."""
    wanted = sorted(keys)
    if not wanted:
        return {}
    rows = await reader.rows(select(*CODES.c).where(CODES.c.show_id == show_id, CODES.c.code_key.in_(wanted)))
    return {
        row.code_key: Code(
            row.code_key,
            row.kind,
            Discount(row.percent_off, row.amount_off),
            row.max_seats,
            row.used_seats,
            row.valid_from,
            row.valid_until,
        )
        for row in rows
    }


async def save_codes(work: UnitOfWork, show_id: ShowId, codes: Iterable[Code]) -> None:
    """Write the counts of the changed codes."""
    await work.write_each(
        _COUNT_SEATS,
        [{"show": show_id, "key": each.code_key, "used": each.used_seats} for each in codes if each.changed],
    )


async def list_codes(reader: Reader, show_id: ShowId, window: Window) -> Slice[CodeRow]:
    """Return a page of the codes of a show, in alphabetical order. Raises InvalidCursor."""
    return await _ORDER.page(reader, select(CodeRow).where(CodeRow.show_id == show_id), window)


async def count_codes_with_amount(reader: Reader, show_id: ShowId) -> int:
    """Return how many codes of a show take an amount off, which is in the show's currency."""
    statement = select(func.count()).where(CODES.c.show_id == show_id, CODES.c.amount_off > 0)
    [(count,)] = await reader.rows(statement)
    return int(count)


async def remove_code(work: UnitOfWork, show_id: ShowId, key: str) -> bool:
    """Delete a code. Return whether it existed."""
    result = await work.execute(delete(CODES).where(CODES.c.show_id == show_id, CODES.c.code_key == key))
    return bool(result.rowcount)  # type: ignore[attr-defined]  # a DELETE has one
