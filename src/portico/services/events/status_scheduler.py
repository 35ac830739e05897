"""The status scheduler changes the statuses of shows that are due by the clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from portico.kit import ServiceContext, get_logger
from portico.kit.data import is_transient
from portico.kit.foundation import Backoff, wait_for_event
from portico.services.events.repository import Shows
from portico.services.events.service import SCHEDULE, advance_shows

logger = get_logger(__name__)

_BATCH: Final = 100  # shows of one transaction
_POLL: Final = 5.0  # seconds between looks for changes that other processes made
_BACKOFF: Final = Backoff(base=0.5, limit=5.0)


class StatusScheduler:
    """Puts shows on sale at the start of their sale, and completes them a day after their date.

    Every process runs one. It sleeps until the next change, and is woken by changes of this process. Two that change the
    same show do it once: the row is locked and looked at again.

    Args:
        context: the service.
        poll: how long (seconds) until it looks for changes that other processes made.
    """

    def __init__(self, context: ServiceContext, *, poll: float = _POLL) -> None:
        self._context = context
        self._poll = poll

    async def run(self) -> None:
        """Change statuses until the service stops or this is cancelled."""
        failures = 0
        with self._context.change_notifier.follow(SCHEDULE) as changed:
            while not self._context.stopping.is_set():
                changed.clear()
                try:
                    await self.run_due()
                    pause, failures = await self._pause(), 0
                except Exception as error:
                    failures += 1
                    pause = _BACKOFF.delay(failures)
                    if is_transient(error):
                        logger.warning("status_changes_delayed", service=self._context.name, error=repr(error))
                    else:
                        logger.exception("status_changes_failed", service=self._context.name)
                await wait_for_event(changed, pause)

    async def run_due(self) -> int:
        """Change the statuses that are due. Return how many shows were looked at."""
        seen = 0
        while True:
            async with self._context.reader() as reader:
                show_ids = await Shows(reader).due(self._context.clock.now(), limit=_BATCH)
            if show_ids:
                await self._context.transact(partial(advance_shows, show_ids=show_ids))
            seen += len(show_ids)
            if len(show_ids) < _BATCH:
                return seen

    async def _pause(self) -> float:
        """Return the seconds until the next change."""
        now = self._context.clock.now()
        async with self._context.reader() as reader:
            due_at = await Shows(reader).next_due_at(now)
        return self._poll if due_at is None else min((due_at - now).total_seconds(), self._poll)


@asynccontextmanager
async def open_status_scheduler(context: ServiceContext) -> AsyncIterator[StatusScheduler]:
    """Open the status scheduler of the service."""
    yield StatusScheduler(context)


async def run_status_scheduler(context: ServiceContext) -> None:
    """Change statuses while the service runs."""
    await context.resource(StatusScheduler).run()
