"""Scheduled jobs: each runs once per interval among all processes of a service, by a lease in its database."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import bindparam, select, update

from portico.kit.data.engine import Database
from portico.kit.data.kit_tables import leases
from portico.kit.data.statements import Statement, is_due
from portico.kit.data.upsert import insert_if_absent
from portico.kit.foundation.aio import is_cancelled
from portico.kit.foundation.clock import latest_due, seconds_until
from portico.kit.foundation.stored_names import checked_name
from portico.kit.service_context import ServiceContext
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_CLAIM_RETRY = 5.0  # seconds until the next attempt to claim a job, after the database failed
_TIMER_RESOLUTION = 0.001  # seconds by which the timer of an event loop may be early

_LEASED_UNTIL = Statement(select(leases.c.until).where(leases.c.name == bindparam("lease")))
_CLAIM = Statement(
    update(leases)
    .where(leases.c.name == bindparam("lease"), is_due(leases.c.until))
    .values(owner=bindparam("new_owner"), until=bindparam("new_until"))
)

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

    Between two runs a job executes no statement: its lease expires when it is due, whichever process has claimed it.

    Args:
        context: the service.
        database: the service's database, which has the leases.
        jobs: its jobs.
    """

    def __init__(self, context: ServiceContext, database: Database, jobs: Iterable[Job] = ()) -> None:
        self._context = context
        self._database = database
        self._jobs = tuple(jobs)
        self._owner = secrets.token_hex(8)
        self._due_at: dict[str, datetime] = {}

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
            await asyncio.sleep(self.pause(each))

    def pause(self, each: Job) -> float:
        """Return how long (seconds) to wait before the next attempt to run the job.

        It is never shorter than the resolution of timers: a wait that ends too early would be repeated at once.
        """
        interval, remaining = each.every.total_seconds(), self._remaining(each)
        if not remaining:
            return min(interval, _CLAIM_RETRY)  # the job, or the claim, has failed
        return min(remaining, interval) + _TIMER_RESOLUTION

    async def run_due(self, each: Job) -> bool:
        """Run the job if its interval has passed and no other process has claimed it. Return whether it ran."""
        if self._remaining(each) > 0 or not await self._claim(each):
            return False
        await each.function(self._context)
        return True

    def _remaining(self, each: Job) -> float:
        """Return the seconds until the job is due; 0 if that is not known."""
        due_at = self._due_at.get(each.name)
        if due_at is None:
            return 0.0
        return max(seconds_until(due_at, self._context.clock.now(), max_wait=each.every), 0.0)

    async def _claim(self, each: Job) -> bool:
        lease, now = f"job:{each.name}", self._context.clock.now()
        if each.name not in self._due_at:
            async with self._context.transaction() as work:
                await insert_if_absent(work, leases, {"name": lease, "owner": self._owner, "until": now})
        until = now + each.every
        values = {
            "lease": lease,
            "now": now,
            "latest": latest_due(now, each.every),
            "new_owner": self._owner,
            "new_until": until,
        }
        claimed = await self._database.write_autocommit(_CLAIM, values)
        self._due_at[each.name] = until if claimed else await self._leased_until(lease)
        return bool(claimed)

    async def _leased_until(self, lease: str) -> datetime:
        async with self._context.reader() as reader:
            return cast("datetime", (await reader.rows(_LEASED_UNTIL, {"lease": lease}))[0].until)
