"""Frees the places of holds whose time is over, in batches between the requests of users."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from portico.kit import ServiceContext, get_logger
from portico.services.seating.holds.repository import due_holds, next_end
from portico.services.seating.holds.writer import HoldWriter
from portico.services.seating.settings import SeatingSettings

logger = get_logger(__name__)

_MAX_PAUSE_SECONDS: Final = 5.0
_MIN_PAUSE_SECONDS: Final = 0.05
_IDLE_FACTOR: Final = 4


class HoldExpiry:
    """Ends holds in time. Each process of the service runs one; a hold that another has ended is left alone.

    Between two runs it sleeps until the next hold ends. No hold that is taken meanwhile can end earlier than half of the
    shortest time that a hold gets.

    Args:
        context: the service.
        writer: frees the places.
        batch: maximum number of holds that are ended by one change. While no other change is requested, it is four
            times as many, because larger changes take less time for each hold.
        shortest: the shortest time (seconds) that a hold gets.
    """

    def __init__(self, context: ServiceContext, writer: HoldWriter, *, batch: int, shortest: float) -> None:
        self._context = context
        self._writer = writer
        self._batch = batch
        self._requests = 0  # of others, when the last change began
        self.max_pause = min(_MAX_PAUSE_SECONDS, shortest / 2)
        self._wakeup = asyncio.Event()

    def wake(self) -> None:
        """Look for ended holds now: the time of some was shortened."""
        self._wakeup.set()

    async def run(self) -> None:
        """End holds until the service stops."""
        while True:
            pause = _MAX_PAUSE_SECONDS
            self._wakeup.clear()
            try:
                await self.run_due()
                pause = await self._pause()
            except Exception:
                logger.exception("hold_expiry_failed", service=self._context.name)
            try:
                async with asyncio.timeout(pause):
                    await self._wakeup.wait()
            except TimeoutError:
                pass

    async def run_due(self) -> int:
        """End the holds whose time is over. Return how many were ended."""
        total = 0
        while True:
            limit = self._limit()
            async with self._context.reader() as reader:
                found = await due_holds(reader, self._context.clock.now(), limit)
            ended = sum([await self._writer.expire(show_id, hold_ids) for show_id, hold_ids in found.items()])
            total += ended
            if sum(map(len, found.values())) < limit or not ended:
                return total

    def _limit(self) -> int:
        """Return how many holds the next change may end."""
        before, self._requests = self._requests, self._writer.requests
        return self._batch * _IDLE_FACTOR if self._requests == before else self._batch

    async def _pause(self) -> float:
        async with self._context.reader() as reader:
            end = await next_end(reader)
        if end is None:
            return self.max_pause
        remaining = (end - self._context.clock.now()).total_seconds()
        return min(max(remaining, _MIN_PAUSE_SECONDS), self.max_pause)


@asynccontextmanager
async def open_hold_expiry(context: ServiceContext) -> AsyncIterator[HoldExpiry]:
    """Create the object that ends the holds of the service."""
    settings = context.settings_of(SeatingSettings)
    writer = context.resource(HoldWriter)
    shortest = min(settings.hold_expires_in, settings.hold_grace, settings.waitlist_offer_expires_in)
    yield HoldExpiry(context, writer, batch=settings.expiry_batch, shortest=shortest)


async def run_hold_expiry(context: ServiceContext) -> None:
    """End holds while the service runs."""
    await context.resource(HoldExpiry).run()
