"""SQL of documents, the state of the index, and rebuilds. The state is locked before documents."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, select

from portico.contracts.events import ShowId
from portico.kit import Reader, Repository, UnitOfWork
from portico.kit.data import insert_if_absent, newest_first
from portico.services.search.document import Document
from portico.services.search.errors import RebuildNotFound
from portico.services.search.index.base import Digest
from portico.services.search.models import LIVE_ROW, OPEN, IndexState, Rebuild, ShowDocument, Slot

_DOCUMENTS: Any = ShowDocument.__table__
_D = _DOCUMENTS.c
_UNKNOWN = {"event_revision": -1, "is_deleted": True, "fingerprint": 0, "data": {}}
_LIVE = select(IndexState.__table__.c.live)


async def live_slot(reader: Reader) -> Slot:
    """Return the slot that is searched."""
    [(live,)] = await reader.rows(_LIVE)
    slot: Slot = live
    return slot


async def lock_state(work: UnitOfWork, *, shared: bool = False) -> IndexState:
    """Return the state of the index, locked until the transaction ends; `shared` with others who share it."""
    statement = select(IndexState).where(IndexState.name == LIVE_ROW).with_for_update(read=shared)
    state: IndexState = (await work.execute(statement)).scalars().one()
    return state


async def lock_document(work: UnitOfWork, show_id: ShowId) -> ShowDocument:
    """Return the row of a show, locked; insert it if there is none."""
    await insert_if_absent(work, _DOCUMENTS, {"show_id": show_id, **_UNKNOWN})
    row = await work.get(ShowDocument, show_id, lock=True)
    if row is None:
        raise LookupError(f"the document of show {show_id} has disappeared; documents are never deleted")
    return row


async def lock_documents_after(work: UnitOfWork, position: int, limit: int) -> Sequence[ShowDocument]:
    """Return the next documents in the order of their ids, locked against change."""
    statement = select(ShowDocument).where(ShowDocument.show_id > position).order_by(ShowDocument.show_id).limit(limit)
    return (await work.execute(statement.with_for_update(read=True))).scalars().all()


async def digest_of_documents(work: UnitOfWork) -> Digest:
    """Return the digest of the documents of shows that are not deleted."""
    statement = select(func.count(), func.coalesce(func.sum(_D.fingerprint), 0)).where(_D.is_deleted.is_(False))
    row: Any = (await work.execute(statement)).one()
    return Digest(int(row[0]), int(row[1]))


async def documents_of(reader: Reader, show_ids: Iterable[int]) -> dict[int, Document]:
    """Return the documents of these shows, by id."""
    statement = select(_D.show_id, _D.data).where(
        _D.show_id.in_([ShowId(each) for each in show_ids]), _D.is_deleted.is_(False)
    )
    return {int(row.show_id): Document.of_data(row.data) for row in await reader.rows(statement)}


class Rebuilds(Repository[Rebuild]):
    """The rebuilds of the index."""

    model, not_found, order = Rebuild, RebuildNotFound, newest_first(Rebuild.rebuild_id)

    async def find_open(self, *, lock: bool = False) -> Rebuild | None:
        """Return the rebuild that has not ended, if any."""
        statement = select(Rebuild).where(Rebuild.status.in_(OPEN)).order_by(Rebuild.rebuild_id).limit(1)
        return await self.source.one(statement.with_for_update() if lock else statement)
