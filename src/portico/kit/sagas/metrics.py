"""Metrics and health of a service's sagas."""

import asyncio
from collections.abc import Callable, Collection

from sqlalchemy import case, func, select

from portico.kit.data.kit_tables import sagas
from portico.kit.sagas.commits import AttemptCommits
from portico.kit.service_context import ServiceContext
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.logs import get_logger

_REFRESH_INTERVAL = 10.0  # seconds
_MAX_UNKNOWN = 100  # maximum number of names in the log
_STUCK_AFTER = 5  # consecutive failures after which a step counts as stuck

logger = get_logger(__name__)


class ClaimingFailed(RuntimeError):
    """The runner cannot claim sagas from the database."""


class SagasStuck(RuntimeError):
    """Steps of sagas fail repeatedly."""


class SagaMetrics:
    """Metrics of one runner. The metrics of rows come from one statement, at most every 10 seconds.

    Args:
        context: the service.
        known: the names of the service's sagas.
        commits: counts the outcomes of steps.
        running: returns how many sagas this process is executing.
    """

    def __init__(
        self, context: ServiceContext, known: Collection[str], commits: AttemptCommits, running: Callable[[], int]
    ) -> None:
        self._context = context
        self._known = known
        self._commits = commits
        self._running = running
        self._refreshed_at = float("-inf")
        self.claim_error: str | None = None
        """Type of the error that prevents the runner from claiming sagas."""
        self.open: dict[str, float] = {}
        self.failures: dict[str, float] = {}
        self.oldest: dict[str, float] = {}
        self.stuck = 0
        self._unknown: set[str] = set()

    def register(self, health: Health) -> None:
        """Add the metrics to the service's `/metrics`, and the check to its health."""
        metrics, commits = self._context.metrics, self._commits
        metrics.gauge("portico_sagas_running", "Sagas currently executing in this process", self._running)
        metrics.gauge("portico_sagas_open", "Sagas that have not ended", lambda: self.open, label="saga")
        metrics.gauge("portico_sagas_failing", "Sagas whose last attempt failed", lambda: self.failures, label="saga")
        metrics.gauge(
            "portico_sagas_oldest_seconds", "Age of the oldest open saga (seconds)", lambda: self.oldest, label="saga"
        )
        metrics.counter("portico_saga_steps", "Attempts of steps", lambda: dict(commits.outcomes), label="outcome")
        metrics.counter("portico_sagas_ended", "Sagas that ended", lambda: dict(commits.ended), label="status")
        health.add("sagas", self.check, critical=False)

    async def refresh(self) -> None:
        """Count the open sagas, unless they were counted a moment ago."""
        now = asyncio.get_running_loop().time()
        if now - self._refreshed_at < _REFRESH_INTERVAL:
            return
        self._refreshed_at = now
        table = sagas.c
        statement = (
            select(
                table.name,
                func.count(),
                func.sum(case((table.failures > 0, 1), else_=0)),
                func.sum(case((table.failures >= _STUCK_AFTER, 1), else_=0)),
                func.min(table.started_at),
            )
            .where(table.due_at.is_not(None))
            .group_by(table.name)
        )
        async with self._context.reader() as reader:
            rows = await reader.rows(statement)
        self.open = {name: float(count) for name, count, *_ in rows}
        self.failures = {name: float(failing) for name, _, failing, *_ in rows}
        self.stuck = int(sum(stuck for *_, stuck, _ in rows))
        self._log_unknown()
        clock = self._context.clock.now()
        self.oldest = {name: (clock - started).total_seconds() for name, *_, started in rows}

    def _log_unknown(self) -> None:
        """Log open sagas that this process does not run: of another version, or missing in `Service(sagas=…)`."""
        unknown = self.open.keys() - set(self._known) - self._unknown
        if unknown and len(self._unknown) < _MAX_UNKNOWN:
            self._unknown |= unknown
            logger.warning("sagas_unknown", service=self._context.name, sagas=sorted(unknown))

    async def check(self) -> None:
        """Check the health of the sagas.

        Raises:
            ClaimingFailed: the runner cannot claim sagas.
            SagasStuck: steps fail repeatedly.
        """
        if self.claim_error is not None:
            raise ClaimingFailed(self.claim_error)
        if self.stuck:
            raise SagasStuck(f"{self.stuck} sagas")
