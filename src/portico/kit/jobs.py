"""What a service does on a clock: once per interval among all its processes, by a lease in its database."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, select, update

from portico.kit.cancelling import is_cancelled
from portico.kit.data.inserting import insert_unless_known
from portico.kit.data.kit_tables import idempotency_keys, leases
from portico.kit.data.prepared import Prepared
from portico.kit.messaging.retention import forget_handled_events, forget_old_events
from portico.kit.sagas.forgetting import forget_ended_sagas
from portico.kit.telemetry.logs import get_logger

if TYPE_CHECKING:
    from portico.kit.running import Running

logger = get_logger(__name__)

_UNTIL = Prepared(select(leases.c.until).where(leases.c.name == bindparam("name")))


@dataclass(frozen=True, slots=True)
class Job:
    """A function that is called every `every`, by one process of all that run the service."""

    function: "Callable[[Running], Awaitable[None]]"
    every: timedelta

    @property
    def name(self) -> str:
        return self.function.__name__


def job(*, every: timedelta) -> "Callable[[Callable[[Running], Awaitable[None]]], Job]":
    """Declare a job: `@job(every=timedelta(minutes=5))`. It opens its own transactions and may run twice."""
    return lambda function: Job(function, every)


class JobRunner:
    """Runs a service's jobs until it is cancelled."""

    def __init__(self, running: "Running") -> None:
        self._running = running
        self._owner = secrets.token_hex(8)

    async def run(self) -> None:
        """Run each job on its clock."""
        async with asyncio.TaskGroup() as group:
            for each in (*KIT_JOBS, *self._running.service.jobs):
                group.create_task(self._keep(each))

    async def _keep(self, each: Job) -> None:
        while True:
            try:
                await self.run_due(each)
            except Exception:
                logger.exception("job failed", service=self._running.name, job=each.name)
            if is_cancelled():
                return
            await asyncio.sleep(each.every.total_seconds() / 4)

    async def run_due(self, each: Job) -> bool:
        """Run the job where its interval has passed and nobody else has taken it; whether it ran."""
        if not await self._take(each):
            return False
        await each.function(self._running)
        return True

    async def _take(self, each: Job) -> bool:
        name = f"job:{each.name}"
        if not await self._is_due(name):
            return False
        async with self._running.transaction() as work:
            first = {"name": name, "owner": self._owner, "until": work.now}
            await insert_unless_known(work, leases, first)
        async with self._running.transaction() as work:
            taken = await work.execute(
                update(leases)
                .where(leases.c.name == name, leases.c.until <= work.now)
                .values(owner=self._owner, until=work.now + each.every)
            )
            return bool(taken.rowcount)  # type: ignore[attr-defined]

    async def _is_due(self, name: str) -> bool:
        """Whether it is worth while to try: a read, which keeps nobody from writing."""
        async with self._running.reader() as reader:
            found = await _UNTIL.rows(reader, {"name": name})
        return not found or found[0].until <= self._running.clock.now()


async def forget_old_answers(running: "Running") -> None:
    """Delete the answers to idempotency keys that are past their time."""
    oldest = running.clock.now() - timedelta(seconds=running.settings.idempotency_ttl)
    async with running.transaction() as work:
        await work.execute(delete(idempotency_keys).where(idempotency_keys.c.claimed_at < oldest))


KIT_JOBS = (
    Job(forget_old_answers, timedelta(minutes=10)),
    Job(forget_old_events, timedelta(minutes=10)),
    Job(forget_handled_events, timedelta(minutes=10)),
    Job(forget_ended_sagas, timedelta(minutes=10)),
)
