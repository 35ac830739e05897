"""Scheduled jobs: each runs once per interval among all processes of a service, by a lease in its database."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import bindparam, select, update

from portico.kit.data.kit_tables import leases
from portico.kit.data.statements import Statement
from portico.kit.data.upsert import insert_if_absent
from portico.kit.foundation.aio import is_cancelled
from portico.kit.foundation.stored_names import checked_name
from portico.kit.service_context import ServiceContext
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_LEASED_UNTIL = Statement(select(leases.c.until).where(leases.c.name == bindparam("name")))

JobFunction = Callable[[ServiceContext], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Job:
    """A function that is called once per interval, by one of the processes that run the service.

    Attributes:
        name: a stable name in kebab-case; the lease in the database is stored under it.
        function: is called with the service's context. It opens its own transactions and may run twice.
        every: the interval.
    """

    name: str
    function: JobFunction
    every: timedelta


def job(*, name: str, every: timedelta) -> Callable[[JobFunction], Job]:
    """Declare a job: `@job(name="expire-reservations", every=timedelta(minutes=5))`.

    Raises:
        ValueError: the name is not kebab-case.
    """
    checked_name(name)
    return lambda function: Job(name, function, every)


class JobRunner:
    """Runs a service's jobs until it is cancelled.

    Args:
        context: the service.
        jobs: its jobs.
    """

    def __init__(self, context: ServiceContext, jobs: Iterable[Job] = ()) -> None:
        self._context = context
        self._jobs = tuple(jobs)
        self._owner = secrets.token_hex(8)

    async def run(self) -> None:
        """Run each job at its interval."""
        async with asyncio.TaskGroup() as group:
            for each in self._jobs:
                group.create_task(self._repeat(each))

    async def _repeat(self, each: Job) -> None:
        while True:
            try:
                await self.run_due(each)
            except Exception:
                logger.exception("job_failed", service=self._context.name, job=each.name)
            if is_cancelled():
                return
            await asyncio.sleep(each.every.total_seconds() / 4)

    async def run_due(self, each: Job) -> bool:
        """Run the job if its interval has passed and no other process has claimed it. Return whether it ran."""
        if not await self._claim(each):
            return False
        await each.function(self._context)
        return True

    async def _claim(self, each: Job) -> bool:
        name = f"job:{each.name}"
        if not await self._is_due(name):
            return False
        async with self._context.transaction() as work:
            await insert_if_absent(work, leases, {"name": name, "owner": self._owner, "until": work.now})
        async with self._context.transaction() as work:
            claimed = await work.execute(
                update(leases)
                .where(leases.c.name == name, leases.c.until <= work.now)
                .values(owner=self._owner, until=work.now + each.every)
            )
            return bool(claimed.rowcount)  # type: ignore[attr-defined]

    async def _is_due(self, name: str) -> bool:
        """Whether the lease has expired. This is a read, so that polling does not block writers."""
        async with self._context.reader() as reader:
            found = await reader.rows(_LEASED_UNTIL, {"name": name})
        return not found or found[0].until <= self._context.clock.now()
