from dataclasses import dataclass

from portico.contracts.events import ShowId
from portico.kit import Reader, UnitOfWork
from portico.services.search.document import Document
from portico.services.search.index.base import Position, Results, SearchQuery, ShowIndex
from portico.services.search.models import Rebuild
from portico.services.search.repository import Rebuilds, documents_of, live_slot, lock_document, lock_state


@dataclass(frozen=True, slots=True)
class FoundShow:
    """A show in the results of a search."""

    document: Document
    position: Position


async def apply_change(
    work: UnitOfWork, index: ShowIndex, show_id: ShowId, document: Document | None, *, revision: int
) -> bool:
    """Take over the state of a show after an event; None for a deleted show.

    Return False if a newer event was handled before: events may come twice, or late.
    """
    state = await lock_state(work, shared=True)
    row = await lock_document(work, show_id)
    if not row.apply(document, revision):
        return False
    for slot in state.written:
        if document is None:
            await index.remove(work, slot, show_id, revision)
        else:
            await index.write(work, slot, [document], [revision])
    return True


async def search_shows(
    reader: Reader,
    index: ShowIndex,
    query: SearchQuery,
    *,
    limit: int,
    skip: int = 0,
    after: Position | None = None,
) -> tuple[list[FoundShow], Results]:
    """Return a part of the results with the shows."""
    results = await index.search(reader, await live_slot(reader), query, limit=limit, skip=skip, after=after)
    documents = await documents_of(reader, [each.show_id for each in results.positions]) if results.positions else {}
    # A show that was deleted between the two reads is left out.
    found = [FoundShow(documents[each.show_id], each) for each in results.positions if each.show_id in documents]
    return found, results


async def request_rebuild(work: UnitOfWork) -> Rebuild:
    """Return the rebuild that has not ended; start one if there is none."""
    await lock_state(work)  # one of two concurrent requests starts it
    rebuild = await Rebuilds(work).find_open()
    if rebuild is None:
        rebuild = Rebuild(status="PENDING", indexed=0, created_at=work.now, position=0)
        work.add(rebuild)
        await work.flush()
    return rebuild
