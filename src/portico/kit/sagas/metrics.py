"""What metrics and health tell of a service's sagas."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import case, func, select

from portico.kit.data.kit_tables import sagas
from portico.kit.telemetry.logs import get_logger

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime
    from portico.kit.sagas.executor import SagaExecutor

_FRESH = 10.0  # seconds that the figures are kept
_MOST_STRANGERS = 100
_STUCK = 5  # failures in a row of something that is tried for ever

logger = get_logger(__name__)


class SagasNotTaken(RuntimeError):
    """The runner can't get at the sagas."""


class SagasStuck(RuntimeError):
    """Sagas fail again and again at what has to succeed."""


class Measures:
    """The figures of one runner; those about rows are counted now and then, in one statement.

    Args:
        context: the service, whose metrics and health are told.
        advancing: counts steps.
        under_way: how many sagas this process is at.
    """

    def __init__(self, context: "ServiceRuntime", advancing: "SagaExecutor", under_way: Callable[[], int]) -> None:
        self._context = context
        self._advancing = advancing
        self._under_way = under_way
        self._counted_at = float("-inf")
        self.failing: str | None = None
        """why sagas can't be taken, in a word"""
        self.open: dict[str, float] = {}
        self.failures: dict[str, float] = {}
        self.oldest: dict[str, float] = {}
        self.stuck = 0
        self._unroutable: set[str] = set()

    def show(self) -> None:
        """Have the service's metrics and health tell of them."""
        metrics, advancing = self._context.metrics, self._advancing
        metrics.gauge("portico_sagas_running", "Sagas that this process is at", self._under_way)
        metrics.gauge("portico_sagas_open", "Sagas that have not ended", lambda: self.open, label="saga")
        metrics.gauge("portico_sagas_failing", "Sagas whose step failed last", lambda: self.failures, label="saga")
        metrics.gauge("portico_sagas_oldest_seconds", "Age of the oldest open one", lambda: self.oldest, label="saga")
        metrics.counter("portico_saga_steps", "Attempts of steps", lambda: dict(advancing.outcomes), label="outcome")
        metrics.counter("portico_sagas_ended", "Sagas that ended", lambda: dict(advancing.ended), label="status")
        self._context.health.add("sagas", self.check, critical=False)

    async def refresh(self) -> None:
        """Count anew, where that is some time ago."""
        now = asyncio.get_running_loop().time()
        if now - self._counted_at < _FRESH:
            return
        self._counted_at = now
        table = sagas.c
        statement = (
            select(
                table.name,
                func.count(),
                func.sum(case((table.failures > 0, 1), else_=0)),
                func.sum(case((table.failures >= _STUCK, 1), else_=0)),
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
        self._tell_of_strangers()
        clock = self._context.clock.now()
        self.oldest = {name: (clock - started).total_seconds() for name, *_, started in rows}

    def _tell_of_strangers(self) -> None:
        """Log sagas that nobody here runs: of another version, or not named in `Service(sagas=…)`."""
        strangers = self.open.keys() - {saga.name for saga in self._context.service.sagas} - self._unroutable
        if strangers and len(self._unroutable) < _MOST_STRANGERS:
            self._unroutable |= strangers
            logger.warning("sagas are not run here", service=self._context.name, sagas=sorted(strangers))

    async def check(self) -> None:
        """Raises SagasNotTaken or SagasStuck unless all is well."""
        if self.failing is not None:
            raise SagasNotTaken(self.failing)
        if self.stuck:
            raise SagasStuck(f"{self.stuck} sagas")
