from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import exists, select

from portico.kit.data.reader import Reader
from portico.services.identity.revocations.models import LEEWAY, RevocationEntry


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of the feed, up to `position`."""

    entries: Sequence[RevocationEntry]
    position: int
    more: bool


async def has_new_entries(reader: Reader) -> bool:
    """Whether an entry has no place in the feed yet."""
    return bool((await reader.execute(select(exists().where(RevocationEntry.position.is_(None))))).scalar())


async def stretch_after(reader: Reader, position: int, *, limit: int) -> Stretch:
    """The entries after `position` that still matter, `limit` at most."""
    rows = await reader.all(
        select(RevocationEntry)
        .where(RevocationEntry.position > position)
        .order_by(RevocationEntry.position)
        .limit(limit + 1)
    )
    shown = rows[:limit]
    reached = shown[-1].position if shown else position
    since = reader.now - LEEWAY
    return Stretch([row for row in shown if row.expires_at > since], reached or position, more=len(rows) > limit)
