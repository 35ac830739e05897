from typing import Annotated

from fastapi import Query

from portico.kit import Context, FromService, Reads, Router
from portico.services.identity.revocations.commands import MOST_AT_ONCE, place_new_entries
from portico.services.identity.revocations.queries import has_new_entries, stretch_after
from portico.services.identity.revocations.schemas import RevocationRead, RevocationsRead

router = Router(prefix="/auth/revocations", tags=["revocations"])


@router.get("", quiet=True)
async def read_revocations(
    _caller: FromService,
    reads: Reads,
    context: Context,
    since: Annotated[str | None, Query(pattern=r"^\d{1,18}$", description="The cursor of the answer before")] = None,
) -> RevocationsRead:
    """What ended after `since`; without it, all ends that still matter."""
    if await has_new_entries(reads):
        async with context.transaction() as work:
            await place_new_entries(work)
    found = await stretch_after(reads, int(since or 0), limit=MOST_AT_ONCE)
    return RevocationsRead(
        revocations=[RevocationRead.of(entry) for entry in found.entries], cursor=str(found.position), more=found.more
    )
