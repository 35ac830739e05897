"""The rebuilder fills the idle slot of the index from the stored documents, compares it, and swaps the slots."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Literal

from portico.kit import ServiceContext, UnitOfWork, get_logger
from portico.kit.data import is_transient
from portico.services.search.errors import IndexUnavailable
from portico.services.search.index.base import ShowIndex
from portico.services.search.models import Rebuild, RebuildId, Slot
from portico.services.search.repository import (
    Rebuilds,
    digest_of_documents,
    lock_documents_after,
    lock_state,
)

logger = get_logger(__name__)

_POLL = 10.0  # seconds between looks for a rebuild of a process that died
_LEASE = timedelta(seconds=60)  # longer than any of its transactions
_BATCH: Final = 200  # documents of one transaction

Progress = Literal["more", "ended"]


class LeaseLost(Exception):
    """Another process has taken over the rebuild."""


class Rebuilder:
    """Runs rebuilds. Several processes may run one: a lease gives each rebuild to one process at a time.

    Every change is written to both slots while one is built. A batch locks its documents, so that a change comes either
    before or after it.

    Args:
        context: the service.
        index: the index.
    """

    def __init__(self, context: ServiceContext, index: ShowIndex) -> None:
        self._context = context
        self._index = index
        self._owner = secrets.token_hex(8)
        self._wakeup = asyncio.Event()

    def wake(self) -> None:
        """Look for a rebuild now."""
        self._wakeup.set()

    async def run(self) -> None:
        """Run rebuilds until the service stops or this is cancelled."""
        while not self._context.stopping.is_set():
            self._wakeup.clear()
            try:
                await self.run_due()
            except Exception as error:
                if not (is_transient(error) or isinstance(error, IndexUnavailable | LeaseLost)):
                    logger.exception("rebuild_interrupted", service=self._context.name)
            waiting = [asyncio.ensure_future(event.wait()) for event in (self._wakeup, self._context.stopping)]
            try:
                await asyncio.wait(waiting, timeout=_POLL, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waiting:
                    each.cancel()

    async def run_due(self) -> RebuildId | None:
        """Run the open rebuild to its end, unless another process runs it. Return its id."""
        async with self._context.reader() as reader:
            if await Rebuilds(reader).find_open() is None:
                return None
        rebuild_id = await self._context.transact(self._claim)
        if rebuild_id is None:
            return None
        while await self._context.transact(lambda work: self._copy(work, rebuild_id)) == "more":
            pass
        status = await self._context.transact(lambda work: self._finish(work, rebuild_id))
        logger.info("rebuild_ended", service=self._context.name, rebuild_id=rebuild_id, status=status)
        return rebuild_id

    async def _claim(self, work: UnitOfWork) -> RebuildId | None:
        state = await lock_state(work)
        rebuild = await Rebuilds(work).find_open(lock=True)
        if rebuild is None or (rebuild.leased_until or work.now) > work.now:
            return None
        if rebuild.status == "PENDING":
            rebuild.status = "BUILDING"
            state.building = state.idle
            await self._index.clear(work, state.idle)
        self._extend_lease(rebuild, work)
        return rebuild.rebuild_id

    async def _copy(self, work: UnitOfWork, rebuild_id: RebuildId) -> Progress:
        """Copy the next documents to the slot that is being built."""
        slot, rebuild = await self._slot_of(work, rebuild_id, shared=True)
        rows = await lock_documents_after(work, rebuild.position, _BATCH)
        if kept := [row for row in rows if not row.is_deleted]:
            await self._index.write(work, slot, [row.document for row in kept], [row.event_revision for row in kept])
        if rows:
            rebuild.position = int(rows[-1].show_id)
            rebuild.indexed += len(kept)
        self._extend_lease(rebuild, work)
        return "more" if len(rows) == _BATCH else "ended"

    async def _finish(self, work: UnitOfWork, rebuild_id: RebuildId) -> str:
        """Swap the slots if the new index has exactly the stored documents. No document changes meanwhile."""
        state = await lock_state(work)
        slot, rebuild = await self._slot_of(work, rebuild_id)
        expected, built = await digest_of_documents(work), await self._index.digest(work, slot)
        rebuild.documents, rebuild.indexed = expected.documents, built.documents
        if expected == built:
            rebuild.status, state.live = "COMPLETED", slot
        else:
            rebuild.status, rebuild.failure_reason = "FAILED", "index_differs"
        state.building = None
        rebuild.ended_at, rebuild.leased_until = work.now, None
        return rebuild.status

    async def _slot_of(self, work: UnitOfWork, rebuild_id: RebuildId, *, shared: bool = False) -> tuple[Slot, Rebuild]:
        """Return the slot that is being built, and the rebuild, locked. Raises LeaseLost."""
        state = await lock_state(work, shared=shared)
        rebuild = await Rebuilds(work).get(rebuild_id, lock=True)
        if rebuild.owner != self._owner or state.building is None:
            raise LeaseLost(rebuild_id)
        return state.building, rebuild

    def _extend_lease(self, rebuild: Rebuild, work: UnitOfWork) -> None:
        rebuild.owner, rebuild.leased_until = self._owner, work.now + _LEASE


@asynccontextmanager
async def open_rebuilder(context: ServiceContext) -> AsyncIterator[Rebuilder]:
    """Open the rebuilder of the service."""
    yield Rebuilder(context, context.resource(ShowIndex))  # type: ignore[type-abstract]  # the declared type is the interface


async def run_rebuilder(context: ServiceContext) -> None:
    """Run rebuilds while the service runs."""
    await context.resource(Rebuilder).run()
