"""How many places of shows are available, as seating says. The counts are kept for a second."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from portico.contracts.events import ShowId
from portico.contracts.seating import SeatingClient
from portico.kit import ServiceContext, get_logger
from portico.kit.calls import CallError
from portico.services.events.domain import ALL
from portico.services.events.models import Show

logger = get_logger(__name__)

MAX_AGE_SECONDS: Final = 1.0
_CALL_TIMEOUT: Final = 2.0  # seconds; a reader gets the rest of the show then
_MAX_CACHED: Final = 10_000  # shows


@dataclass(frozen=True, slots=True)
class _Count:
    """A count that was requested at `at` (monotonic seconds); None if seating did not answer."""

    at: float
    available: int | None


class AvailableSeats:
    """Finds how many places of shows are available.

    Concurrent readers of a show share a call. A call that failed counts as an answer for a second too, so that an outage of
    seating does not slow readers down.

    Args:
        context: the service.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._counts: OrderedDict[ShowId, _Count] = OrderedDict()
        self._calls: dict[ShowId, asyncio.Task[None]] = {}
        self._is_failing = False

    async def add_to(self, shows: Sequence[Show]) -> None:
        """Set the available places of shows; None while seating cannot tell. No transaction may be open."""
        counts = await self.of([each.event_id for each in shows])
        for show in shows:
            show.set_available(counts[show.event_id])

    async def of(self, show_ids: Iterable[ShowId]) -> dict[ShowId, int | None]:
        """Return the number of available places of each show, at most a second old."""
        wanted = list(dict.fromkeys(show_ids))
        now = self._context.clock.monotonic()
        missing = [each for each in wanted if not self._is_fresh(each, now)]
        if to_call := [each for each in missing if each not in self._calls]:
            # A task of its own: a reader that is cancelled does not cancel the call of the others.
            task = asyncio.create_task(self._call(to_call, now))
            self._calls.update(dict.fromkeys(to_call, task))
        if waiting := {self._calls[each] for each in missing}:
            ended, _ = await asyncio.wait(waiting)
            for task in ended:
                if not task.cancelled():
                    task.result()  # raises what is not an outage
        return {each: found.available if (found := self._counts.get(each)) else None for each in wanted}

    def _is_fresh(self, show_id: ShowId, now: float) -> bool:
        found = self._counts.get(show_id)
        return found is not None and now - found.at < MAX_AGE_SECONDS

    async def _call(self, show_ids: Sequence[ShowId], now: float) -> None:
        counts: dict[ShowId, int | None]
        try:
            calls = self._context.calls(timeout=_CALL_TIMEOUT)
            found = await calls(SeatingClient).availability(show_ids)
            counts = dict.fromkeys(show_ids, ALL)  # seating does not know a show within its first second
            counts.update((each, found[each].available) for each in found)
            self._is_failing = False
        except CallError as error:
            counts = dict.fromkeys(show_ids)
            if not self._is_failing:
                logger.warning("availability_unknown", service=self._context.name, error=str(error))
            self._is_failing = True
        finally:
            for each in show_ids:
                self._calls.pop(each, None)
        for each in show_ids:
            self._counts[each] = _Count(now, counts[each])
            self._counts.move_to_end(each)
        while len(self._counts) > _MAX_CACHED:
            self._counts.popitem(last=False)

    async def aclose(self) -> None:
        """Cancel the calls in progress."""
        for task in set(self._calls.values()):
            task.cancel()


@asynccontextmanager
async def open_available_seats(context: ServiceContext) -> AsyncIterator[AvailableSeats]:
    """Open the counts of available places."""
    counts = AvailableSeats(context)
    try:
        yield counts
    finally:
        await counts.aclose()
