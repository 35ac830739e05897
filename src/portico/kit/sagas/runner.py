"""Run a service's sagas: claim due sagas in batches, and execute many concurrently."""

import asyncio
import contextvars
import random
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from portico.kit.data.engine import Database
from portico.kit.data.failures import is_retryable_conflict
from portico.kit.foundation.aio import wait_for_event
from portico.kit.foundation.backoff import Backoff
from portico.kit.sagas.cohorts import Cohorts, Commit
from portico.kit.sagas.commits import AttemptCommits
from portico.kit.sagas.control import WAKEUP
from portico.kit.sagas.definition import NoSuchStep, Saga
from portico.kit.sagas.executor import SagaExecutor
from portico.kit.sagas.leases import SagaLeases
from portico.kit.sagas.metrics import SagaMetrics
from portico.kit.sagas.progress import Progress
from portico.kit.service_context import ServiceContext
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.logs import get_logger
from portico.kit.telemetry.traces import Tracing

logger = get_logger(__name__)

_RETRY_BASE = 0.2  # seconds: maximum delay after a step's first failure
_BATCHING_DELAY = 0.02  # seconds that the runner waits for more capacity, to claim several sagas at once
_DUE_MARGIN = 0.001  # seconds added to a wait, because a claim that is slightly early finds nothing
_CLAIM_RETRY = 1.0  # seconds until the next claim after a failed one
_COHORTS_AT_ONCE = 2  # more concurrent cohorts would be smaller
_SHUTDOWN_TIMEOUT = 5.0  # seconds for running steps to end, and for leases to be released


class SagaRunner:
    """Runs the sagas of one service in this process, until it is cancelled.

    Commits of this process wake it. Polling finds sagas that other processes released or lost. A lease assigns each
    saga to one process at a time. The fencing token in the saga's row prevents writes of a process that lost its lease.

    Args:
        context: the service.
        sagas: the service's sagas.
        database: the service's database.
        tracing: starts a span per step.
        health: the service's health checks.
        draw: returns a random number from 0 to 1.

    Attributes:
        commit_cohort: commits a cohort in one transaction. The drill replaces it to inject faults.
    """

    def __init__(
        self,
        context: ServiceContext,
        sagas: Iterable[Saga[Any]],
        *,
        database: Database,
        tracing: Tracing,
        health: Health,
        draw: Callable[[], float] = random.random,
    ) -> None:
        settings = context.settings
        self._draw = draw
        self.owner = secrets.token_hex(8)
        self._context = context
        self._database = database
        self._health = health
        self._known = {saga.name: saga for saga in sagas}
        self._leases = SagaLeases(context, self._known, self.owner)
        self._backoff = Backoff(base=_RETRY_BASE, limit=settings.saga_retry_limit, draw=draw)
        self._progress = Progress(context.clock, self.owner, self._backoff)
        slots = 1 if database.dialect == "sqlite" else max(1, settings.database_pool_size // 2)
        self._commits = AttemptCommits(context, self._progress, asyncio.Semaphore(slots), tracing)
        self.commit_cohort: Commit = self._commits.commit
        self._cohorts = Cohorts(
            lambda cohort: self.commit_cohort(cohort),  # noqa: PLW0108  the attribute may be replaced
            self._progress,
            max_size=settings.saga_batch,
            max_writers=min(slots, _COHORTS_AT_ONCE),
        )
        self._executor = SagaExecutor(context, self._leases, self._cohorts, tracing)
        self._concurrency = settings.saga_concurrency
        self._poll = settings.saga_poll
        self._running: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._claim_requested = True
        self._has_capacity = asyncio.Event()
        self._idle = asyncio.Event()
        self.metrics = SagaMetrics(context, self._known, self._commits, lambda: len(self._running))

    def wake(self) -> None:
        """Claim due sagas at once."""
        self._claim_requested = True
        self._idle.clear()
        self._woken.set()

    async def run(self) -> None:
        """Execute sagas as they become due, until cancelled. Then running steps end, and leases are released."""
        self.metrics.register(self._health)
        self._database.wakeups[WAKEUP] = self.wake
        stopping = asyncio.create_task(self._context.stopping.wait())
        stopping.add_done_callback(lambda _: self._stop())
        try:
            while not self._progress.closing:
                await self._claim_or_wait()
            await asyncio.Event().wait()  # running steps end; the host cancels this task after its grace period
        finally:
            self._stop()
            stopping.cancel()
            del self._database.wakeups[WAKEUP]
            await self._close()

    def _stop(self) -> None:
        """Claim no more sagas, and release the running ones after their current step."""
        self._progress.closing = True
        self._woken.set()
        self._has_capacity.set()

    async def run_due(self) -> None:
        """Execute due sagas until none is due."""
        while await self._claim() or self._running:
            if self._running:
                await asyncio.wait(self._running)

    async def wait_until_idle(self) -> None:
        """Wait until no saga is due or running. For tests."""
        self.wake()
        await self._idle.wait()

    async def _claim_or_wait(self) -> None:
        self._woken.clear()
        requested, self._claim_requested = self._claim_requested, False
        delay = self._poll
        try:
            until_due = None if requested else await self._leases.seconds_until_due()
            if requested or (until_due is not None and until_due <= 0):
                await self._claim()
                until_due = None if self._claim_requested else await self._leases.seconds_until_due()
            if not self._claim_requested:
                await self.metrics.refresh()
                delay = self._next_delay(until_due)
            self.metrics.claim_error = None
        except Exception as error:  # noqa: BLE001  every error is logged, and the claim is retried
            if is_retryable_conflict(error):
                self._claim_requested = True
            else:
                await self._after_failed_claim(error)
        if not self._claim_requested:
            await wait_for_event(self._woken, delay)

    async def _after_failed_claim(self, error: Exception) -> None:
        if self.metrics.claim_error is None:
            logger.error("saga_claim_failed", service=self._context.name, exc_info=error)
        self.metrics.claim_error = type(error).__name__
        await wait_for_event(self._woken, min(self._poll, _CLAIM_RETRY))
        self._claim_requested = True  # the sagas that this process was woken for are still due

    def _next_delay(self, until_due: float | None) -> float:
        """Return the seconds until the next poll. The next saga is due in `until_due` seconds."""
        until_due = self._poll if until_due is None else until_due
        poll = self._poll * (0.8 + 0.2 * self._draw())  # so that processes do not poll at the same time
        if not self._running and not self._claim_requested and until_due > 0:
            self._idle.set()
        return min(poll, until_due + _DUE_MARGIN) if until_due > 0 else poll

    async def _claim(self) -> int:
        """Claim as many due sagas as there is capacity for, and start them. Return how many there were."""
        await self._wait_for_capacity()
        capacity = self._concurrency - len(self._running)
        rows = [] if self._progress.closing else await self._leases.claim(capacity)
        if rows:
            self._idle.clear()
            self._claim_requested |= len(rows) == capacity  # there may be more
        for row in rows:
            # The context is empty, so that a saga inherits nothing from the request that woke the runner.
            task = asyncio.create_task(self._execute(row), context=contextvars.Context())
            self._running.add(task)
            task.add_done_callback(self._on_done)
        return len(rows)

    async def _wait_for_capacity(self) -> None:
        """Wait until a saga can start; if capacity is low, wait briefly for more, to claim several in one statement."""
        while len(self._running) >= self._concurrency and not self._progress.closing:
            self._has_capacity.clear()
            await self._has_capacity.wait()
        if self._concurrency - len(self._running) < self._concurrency // 4:
            await asyncio.sleep(_BATCHING_DELAY)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._has_capacity.set()
        if not self._running:
            self._woken.set()

    async def _execute(self, row: Any) -> None:
        try:
            await self._executor.advance(self._leases.load(row))
        except (NoSuchStep, ValidationError) as error:
            logger.error(  # noqa: TRY400  the error's text may contain customer data
                "saga_of_another_version", saga=row.name, saga_id=row.saga_id, error=type(error).__name__
            )
            await self._release_unreadable(row, f"This version of the code cannot read it: {type(error).__name__}")

    async def _release_unreadable(self, row: Any, error: str) -> None:
        try:
            await self._leases.release_unreadable(row, error, self._backoff.limit)
        except Exception:  # the lease expires, and the saga is claimed again
            logger.exception("saga_lease_not_released", saga=row.name, saga_id=row.saga_id)

    async def _close(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=min(self._context.settings.grace_period, _SHUTDOWN_TIMEOUT))
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        await self._executor.close()
        await self._cohorts.close(_SHUTDOWN_TIMEOUT)
        try:
            async with asyncio.timeout(_SHUTDOWN_TIMEOUT):
                await self._leases.release_all()
        except Exception:  # the leases expire
            logger.exception("saga_leases_not_released", service=self._context.name)
