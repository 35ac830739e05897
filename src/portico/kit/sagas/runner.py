"""Runs a service's sagas: takes those that are due, in batches, and many side by side."""

import asyncio
import contextvars
import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from portico.kit.data.failures import is_retryable_conflict
from portico.kit.foundation.backoff import Backoff
from portico.kit.sagas.control import BELL
from portico.kit.sagas.definition import NoSuchStep
from portico.kit.sagas.executor import SagaExecutor
from portico.kit.sagas.leases import SagaLeases
from portico.kit.sagas.metrics import Measures
from portico.kit.sagas.progress import Progress
from portico.kit.telemetry.logs import get_logger

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime

logger = get_logger(__name__)

_RETRY_BASE = 0.2  # seconds: the longest delay after a step's first failure
_GATHERING = 0.02  # seconds that a free place waits for others, so that sagas are claimed together
_AFTER = 0.001  # seconds: to look a moment too early is to look twice
_AFTER_FAILURE = 1.0  # seconds until the database is asked again
_LAST_WORDS = 5.0  # seconds that steps under way have to end, and leases to be handed back


class SagaRunner:
    """Runs the sagas of one service in this process, until it is cancelled.

    Woken by a commit of this process, and by a look now and then for what another one left. However many processes
    run a service, each saga is one's at a time, by a lease; the fence in its row sees to it that one who lost his
    writes nothing.

    Args:
        context: the service.
        draw: a number from 0 to 1, at random.
    """

    def __init__(self, context: "ServiceRuntime", *, draw: Callable[[], float] | None = None) -> None:
        settings = context.settings
        self._draw = draw or random.Random().random  # noqa: S311  chance, not secrecy
        self.owner = secrets.token_hex(8)
        self._context = context
        self._known = {saga.name: saga for saga in context.service.sagas}
        self._leases = SagaLeases(context, self._known, self.owner)
        self._backoff = Backoff(base=_RETRY_BASE, limit=settings.saga_retry_longest, draw=self._draw)
        self._progress = Progress(context, self.owner, self._backoff)
        slots = 1 if context.database.dialect == "sqlite" else max(1, settings.database_pool_size // 2)
        self._advancing = SagaExecutor(context, self._leases, self._progress, asyncio.Semaphore(slots))
        self._most = settings.saga_concurrency
        self._poll = settings.saga_poll
        self._under_way: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._rung = True
        self._room = asyncio.Event()
        self._quiet = asyncio.Event()
        self.measures = Measures(context, self._advancing, lambda: len(self._under_way))

    def wake(self) -> None:
        """Look at once for what is due."""
        self._rung = True
        self._quiet.clear()
        self._woken.set()

    async def run(self) -> None:
        """Run what is due, as it comes, until cancelled; steps under way end then, and leases are handed back."""
        self.measures.show()
        self._context.database.bells[BELL] = self.wake
        stopping = asyncio.create_task(self._context.stopping.wait())
        stopping.add_done_callback(lambda _: self._stop())
        try:
            while not self._progress.closing:
                await self._turn()
            await asyncio.Event().wait()  # what is under way ends; the host says when it must have
        finally:
            self._stop()
            stopping.cancel()
            del self._context.database.bells[BELL]
            await self._close()

    def _stop(self) -> None:
        """Begin nothing new: no saga is taken, and those under way are handed back after their step."""
        self._progress.closing = True
        self._woken.set()
        self._room.set()

    async def run_due(self) -> None:
        """Run all that is due, and what follows from it, until nothing more is due."""
        while await self._take() or self._under_way:
            if self._under_way:
                await asyncio.wait(self._under_way)

    async def quiet(self) -> None:
        """Wait until nothing is due and nothing is under way; for tests."""
        self.wake()
        await self._quiet.wait()

    async def _turn(self) -> None:
        self._woken.clear()
        rung, self._rung = self._rung, False
        seconds = self._poll
        try:
            if rung or await self._is_due():
                await self._take()
            if not self._rung:
                seconds = await self._idle()
            self.measures.failing = None
        except Exception as error:  # noqa: BLE001  whatever it is: it is logged, and looked at again
            if is_retryable_conflict(error):
                self._rung = True
            else:
                await self._after_failure(error)
        if not self._rung:
            await self._rest(seconds)

    async def _after_failure(self, error: Exception) -> None:
        """Wait a little, and look again: what this process was woken for is still there."""
        if self.measures.failing is None:
            logger.error("sagas can't be taken", service=self._context.name, exc_info=error)
        self.measures.failing = type(error).__name__
        await self._rest(min(self._poll, _AFTER_FAILURE))
        self._rung = True

    async def _is_due(self) -> bool:
        due = await self._leases.soonest()
        return due is not None and self._until(due) <= 0

    async def _idle(self) -> float:
        """Seconds until the next look: nothing is to be taken now."""
        await self.measures.refresh()
        due = await self._leases.soonest()
        until = self._poll if due is None else self._until(due)
        look = self._poll * (0.8 + 0.2 * self._draw())  # so that not all look at once
        if not self._under_way and not self._rung and until > 0:
            self._quiet.set()
        return min(look, until + _AFTER) if until > 0 else look

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def _until(self, due: datetime) -> float:
        return (due - self._context.clock.now()).total_seconds()

    async def _take(self) -> int:
        """Claim as many due sagas as there is room for, and set them going; how many those were."""
        await self._wait_for_room()
        room = self._most - len(self._under_way)
        rows = [] if self._progress.closing else await self._leases.claim(room)
        if rows:
            self._quiet.clear()
            self._rung |= len(rows) == room  # there may be more
        for row in rows:
            # A context of its own: nothing of whoever woke the runner, and of each other.
            task = asyncio.create_task(self._advance(row), context=contextvars.Context())
            self._under_way.add(task)
            task.add_done_callback(self._over)
        return len(rows)

    async def _wait_for_room(self) -> None:
        """Wait for a place; and for a moment until there are several, which are filled by one statement."""
        while len(self._under_way) >= self._most and not self._progress.closing:
            self._room.clear()
            await self._room.wait()
        if self._most - len(self._under_way) < self._most // 4:
            await asyncio.sleep(_GATHERING)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._room.set()
        if not self._under_way:
            self._woken.set()

    async def _advance(self, row: Any) -> None:
        try:
            await self._advancing.advance(self._leases.held(row))
        except (NoSuchStep, ValidationError) as error:
            logger.error("saga is of another version", saga=row.name, saga_id=row.saga_id, error=type(error).__name__)  # noqa: TRY400  what it says may be a customer's
            await self._put_aside(row, f"This version of the code can't read it: {type(error).__name__}")

    async def _put_aside(self, row: Any, error: str) -> None:
        try:
            await self._leases.put_aside(row, error, self._backoff.limit)
        except Exception:  # its lease runs out, and it is looked at again
            logger.exception("saga is not put aside", saga=row.name, saga_id=row.saga_id)

    async def _close(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=min(self._context.settings.grace_period, _LAST_WORDS))
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
        try:
            async with asyncio.timeout(_LAST_WORDS):
                await self._leases.hand_back()
        except Exception:  # the leases run out by themselves
            logger.exception("leases of sagas are not handed back", service=self._context.name)
