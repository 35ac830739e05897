from datetime import datetime

from sqlalchemy import select, update

from portico.kit import UnitOfWork
from portico.kit.auth import RevocationKind
from portico.services.identity.models import FEED
from portico.services.identity.repository import hold
from portico.services.identity.revocations.models import LEEWAY, RevocationEntry

MOST_AT_ONCE = 1000


def revoke(
    work: UnitOfWork,
    kind: RevocationKind,
    subject: str,
    *,
    expires_at: datetime,
    issued_before: datetime | None = None,
) -> None:
    """Tell verifiers that the tokens of `subject` are worth nothing; the last of them expires at `expires_at` anyway."""
    if expires_at + LEEWAY > work.now:
        work.add(RevocationEntry(kind=kind, subject=subject, expires_at=expires_at, issued_before=issued_before))


async def place_new_entries(work: UnitOfWork) -> None:
    """Give committed entries their places in the feed, under a lock: places become visible in their order."""
    feed = await hold(work, FEED)
    new = await work.all(
        select(RevocationEntry.number)
        .where(RevocationEntry.position.is_(None))
        .order_by(RevocationEntry.number)
        .limit(MOST_AT_ONCE)
    )
    if new:
        places = [{"number": number, "position": feed.number + place} for place, number in enumerate(new, 1)]
        await work.execute(update(RevocationEntry), places)
        feed.number += len(new)
