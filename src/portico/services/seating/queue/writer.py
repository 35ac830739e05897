"""The process's single writer of queues, which commits the requests of many callers in groups."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from portico.contracts.events import ShowId
from portico.kit import Problem, ServiceContext, UnitOfWork, UserId
from portico.kit.data import GroupCommit
from portico.services.seating.queue.domain import Entry, Limits, QueueBatch
from portico.services.seating.queue.service import Change, change_queues
from portico.services.seating.settings import SeatingSettings


class QueueWriter:
    """Changes queues for many callers in few transactions. Each change also admits the next users.

    `holders` is how many users hold places of a show without admission, in mode AUTO, as of a second ago.

    Each method raises EventNotFound for an unknown show, and Unavailable when too many changes wait.
    """

    def __init__(self, group: GroupCommit[Change, Any], holders: dict[ShowId, int]) -> None:
        self.holders = holders
        self._group = group

    def replace_holders(self, holders: Mapping[ShowId, int]) -> None:
        """Take over how many users hold places without admission."""
        self.holders.clear()
        self.holders.update(holders)

    async def join(self, show_id: ShowId, user_id: UserId) -> tuple[Entry, int | None]:
        """Return the user's entry; of a new one also its position. Raises QueueNotOpen, SaleClosed, SoldOut."""
        joined: tuple[Entry, int | None] = await self._submit(show_id, user_id, QueueBatch.join)
        return joined

    async def leave(self, show_id: ShowId, user_id: UserId) -> None:
        """End the user's entry, if there is one."""
        await self._submit(show_id, user_id, QueueBatch.leave)

    async def advance(self, show_id: ShowId) -> None:
        """End expired admissions, and admit the next users."""
        await self._group.submit(Change(show_id))

    async def _submit(self, show_id: ShowId, user_id: UserId, method: Any) -> Any:
        return await self._group.submit(Change(show_id, user_id, partial(method, user_id=user_id)))


def limits_of(settings: SeatingSettings) -> Limits:
    """Return the limits in the settings."""
    return Limits(
        settings.waiting_room_shoppers,
        timedelta(seconds=settings.waiting_room_opens),
        timedelta(seconds=settings.admission_expires_in),
    )


@asynccontextmanager
async def open_queue_writer(context: ServiceContext) -> AsyncIterator[QueueWriter]:
    """Open the writer. Changes that wait when the service stops are still written."""
    settings = context.settings_of(SeatingSettings)
    limits = limits_of(settings)

    holders: dict[ShowId, int] = {}

    async def apply(work: UnitOfWork, changes: Sequence[Change]) -> Sequence[Any | Problem]:
        return await change_queues(work, changes, limits, holders)

    group = GroupCommit[Change, Any](
        context.transaction, apply, max_batch=settings.queue_batch, max_waiting=settings.queue_limit
    )
    async with group:
        yield QueueWriter(group, holders)
