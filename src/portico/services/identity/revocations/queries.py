from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, bindparam, exists, select

from portico.kit import Reader
from portico.kit.data import Statement
from portico.services.identity.revocations.models import LEEWAY, RevocationEntry

ENTRIES: Any = RevocationEntry.__table__

_IS_NEW = Statement(select(exists().where(ENTRIES.c.position.is_(None))))
_AFTER = Statement(
    select(ENTRIES)
    .where(ENTRIES.c.position > bindparam("after"))
    .order_by(ENTRIES.c.position)
    .limit(bindparam("most", type_=Integer))
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of the feed, up to `position`, as rows of the entries' columns."""

    entries: Sequence[Any]
    position: int
    more: bool


async def has_new_entries(reader: Reader) -> bool:
    """Whether an entry has no place in the feed yet."""
    return bool((await reader.rows(_IS_NEW, {}))[0][0])


async def stretch_after(reader: Reader, position: int, *, limit: int) -> Stretch:
    """The entries after `position` that still matter, `limit` at most."""
    rows = await reader.rows(_AFTER, {"after": position, "most": limit + 1})
    shown = rows[:limit]
    reached = shown[-1].position if shown else position
    since = reader.now - LEEWAY
    return Stretch([row for row in shown if row.expires_at > since], reached or position, more=len(rows) > limit)
