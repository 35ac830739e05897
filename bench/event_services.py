"""A publishing and a consuming service, for the benchmarks of events."""

import itertools
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import asyncpg

from portico.kit.auth.tokens import TokenFormat
from portico.kit.auth.verification import KeyVerifier
from portico.kit.data import UnitOfWork
from portico.kit.foundation.clock import Clock
from portico.kit.messaging.brokers.factory import open_broker
from portico.kit.messaging.consumer import consumes
from portico.kit.messaging.envelope import serialize
from portico.kit.messaging.event import Event
from portico.kit.runtime.context import ServiceRuntime
from portico.kit.runtime.host import Host
from portico.kit.runtime.service import Service
from portico.kit.runtime.system import System
from portico.kit.service_context import ServiceContext
from portico.kit.settings import Environment
from portico.testing.issuer import Issuer

SYSTEM = "bench"
THINGS = 500
TEXT = "x" * 300  # an event has 600 bytes, with the envelope


FILL = """INSERT INTO outbox (event_id, type, aggregate, body, occurred_at)
SELECT 'evt_' || $1::text || '_' || n, $2, 'thing_' || n % 500, $3, now() FROM generate_series(1, $4::integer) n"""

fills = itertools.count(1)


class Measured(Event, type="thing.measured", version=1, aggregate="thing_id"):
    thing_id: str
    number: int
    text: str = TEXT

    @classmethod
    def numbered(cls, number: int) -> "Measured":
        return cls(thing_id=f"thing_{number % THINGS}", number=number)


class Arrivals(dict[int, float]):
    """Monotonic time (seconds) at which the handling of each event was committed, by event number."""


@asynccontextmanager
async def open_arrivals(_: ServiceContext) -> AsyncIterator[Arrivals]:
    yield Arrivals()


@consumes(Measured, name="record-arrival")
async def record_arrival(event: Measured, work: UnitOfWork, context: ServiceRuntime) -> None:
    arrivals = context.resource(Arrivals)
    work.after_commit(lambda: arrivals.setdefault(event.number, monotonic()) and None)


publisher = Service(name="publisher", summary="Publishes", module=__name__, publishes=[Measured])
consumer = Service(
    name="consumer",
    summary="Consumes",
    module=__name__,
    consumers=[record_arrival],
    resources={Arrivals: open_arrivals},
)


def host(
    variables: Mapping[str, str], *, only: Iterable[str] | None = None, broker: bool = True
) -> AbstractAsyncContextManager[Host]:
    """Return a host of both services, or of those in `only`. With `broker` false there is no relay and no consumer."""
    clock, form = Clock(), TokenFormat(issuer="portico", audience=SYSTEM)
    environment = {**os.environ, "SERVICE_SECRET": secrets.token_urlsafe(48), **variables}
    how: dict[str, Any] = {"broker": open_broker if broker else None, "background": broker}
    return Host(
        System(SYSTEM, "A system to be measured", gateway=1, services={publisher: 1, consumer: 1}),
        Environment(environment),
        verifier_of=lambda _: KeyVerifier(Issuer(clock, form), form, clock),
        only=only,
        **how,
    )


async def fill(database: asyncpg.Connection, count: int) -> None:
    """Insert `count` events into the outbox with one statement."""
    event = Measured.numbered(1)
    body = serialize(event, source=f"/{SYSTEM}/publisher", time=datetime.now(UTC), trace=None)
    await database.execute(FILL, str(next(fills)), Measured.event_type, body, count)
    await database.execute("ANALYZE outbox")
