"""What a service does on a clock: once per interval among all its processes, by a lease in its database."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, select, update

from portico.kit.data.kit_tables import idempotency_keys, leases
from portico.kit.data.statements import Statement
from portico.kit.data.upsert import insert_if_absent
from portico.kit.foundation.aio import is_cancelled
from portico.kit.foundation.stored_names import checked_name
from portico.kit.messaging.retention import delete_handled_events, delete_old_events
from portico.kit.sagas.retention import delete_ended_sagas
from portico.kit.telemetry.logs import get_logger

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime

logger = get_logger(__name__)

_UNTIL = Statement(select(leases.c.until).where(leases.c.name == bindparam("name")))


@dataclass(frozen=True, slots=True)
class Job:
    """A function that is called once per interval, by one of the processes that run the service.

    Attributes:
        name: a stable name in kebab-case; the lease in the database is stored under it.
        function: is called with the service's context. It opens its own transactions and may run twice.
        every: the interval.
    """

    name: str
    function: "Callable[[ServiceRuntime], Awaitable[None]]"
    every: timedelta


def job(*, name: str, every: timedelta) -> "Callable[[Callable[[ServiceRuntime], Awaitable[None]]], Job]":
    """Declare a job: `@job(name="expire-reservations", every=timedelta(minutes=5))`.

    Raises:
        ValueError: the name is not kebab-case.
    """
    checked_name(name)
    return lambda function: Job(name, function, every)


class JobRunner:
    """Runs a service's jobs until it is cancelled."""

    def __init__(self, context: "ServiceRuntime") -> None:
        self._context = context
        self._owner = secrets.token_hex(8)

    async def run(self) -> None:
        """Run each job on its clock."""
        async with asyncio.TaskGroup() as group:
            for each in (*KIT_JOBS, *self._context.service.jobs):
                group.create_task(self._keep(each))

    async def _keep(self, each: Job) -> None:
        while True:
            try:
                await self.run_due(each)
            except Exception:
                logger.exception("job failed", service=self._context.name, job=each.name)
            if is_cancelled():
                return
            await asyncio.sleep(each.every.total_seconds() / 4)

    async def run_due(self, each: Job) -> bool:
        """Run the job where its interval has passed and nobody else has taken it; whether it ran."""
        if not await self._take(each):
            return False
        await each.function(self._context)
        return True

    async def _take(self, each: Job) -> bool:
        name = f"job:{each.name}"
        if not await self._is_due(name):
            return False
        async with self._context.transaction() as work:
            first = {"name": name, "owner": self._owner, "until": work.now}
            await insert_if_absent(work, leases, first)
        async with self._context.transaction() as work:
            taken = await work.execute(
                update(leases)
                .where(leases.c.name == name, leases.c.until <= work.now)
                .values(owner=self._owner, until=work.now + each.every)
            )
            return bool(taken.rowcount)  # type: ignore[attr-defined]

    async def _is_due(self, name: str) -> bool:
        """Whether it is worth while to try: a read, which keeps nobody from writing."""
        async with self._context.reader() as reader:
            found = await reader.rows(_UNTIL, {"name": name})
        return not found or found[0].until <= self._context.clock.now()


async def delete_old_idempotency_keys(context: "ServiceRuntime") -> None:
    """Delete the answers to idempotency keys that are past their time."""
    oldest = context.clock.now() - timedelta(seconds=context.settings.idempotency_ttl)
    async with context.transaction() as work:
        await work.execute(delete(idempotency_keys).where(idempotency_keys.c.claimed_at < oldest))


KIT_JOBS = (
    Job("delete-old-idempotency-keys", delete_old_idempotency_keys, timedelta(minutes=10)),
    Job("delete-old-events", delete_old_events, timedelta(minutes=10)),
    Job("delete-handled-events", delete_handled_events, timedelta(minutes=10)),
    Job("delete-ended-sagas", delete_ended_sagas, timedelta(minutes=10)),
)
