"""Rate of the relay from the outbox to a broker, compared with a standard client that waits for each confirmation.

The relay reads batches of events of 600 bytes from PostgreSQL, publishes them with confirmations, and moves them to
the event log. The standard client reads and moves the same batches. All processes share the machine's cores; one
consumer group subscribes to every event. Run it with `python bench/relay.py`; `--events 2000 --rounds 1` for a short
run.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import aio_pika
import asyncpg
import nats
import uvloop
from event_services import SYSTEM, Measured, fill, host

from portico.kit.data.kit_tables import outbox
from portico.kit.messaging.brokers.base import Broker, Message, partition_of
from portico.kit.messaging.brokers.factory import open_broker
from portico.kit.messaging.relay import Relay
from portico.kit.runtime.context import ServiceRuntime
from portico.kit.settings import Settings
from portico.servers import NatsServer, PostgreSQLServer, RabbitMQServer

BATCH = 1000  # batch size of the relay
ALONE = 0.1  # share of the events that the standard client publishes
GROUP = "consumer"

One = Callable[[Message], Awaitable[object]]

NAMES = ", ".join(column.name for column in outbox.columns)
MOVE = f"""WITH gone AS (DELETE FROM outbox WHERE id = ANY($1) RETURNING {NAMES})
INSERT INTO event_log ({NAMES}) SELECT {NAMES} FROM gone"""  # names of columns


class Case(NamedTuple):
    name: str
    wanted: int  # events a second
    broker: Broker
    one: One


async def publish_one_at_a_time(database: asyncpg.Connection, one: One, count: int) -> float:
    """Return the events per second of the standard client, which waits for each confirmation."""
    await fill(database, count)
    began = time.perf_counter()
    while rows := await database.fetch(f"SELECT * FROM outbox ORDER BY id LIMIT {BATCH}"):
        for row in rows:
            await one(Message(row["event_id"], row["type"], row["aggregate"], row["body"].encode()))
        await database.execute(MOVE, [row["id"] for row in rows])
    return count / (time.perf_counter() - began)


async def relayed(database: asyncpg.Connection, relay: Relay, count: int) -> float:
    """Return the events per second of the relay."""
    await fill(database, count)
    began = time.perf_counter()
    if await relay.drain() != count:
        raise RuntimeError("the relay did not publish all events")
    return count / (time.perf_counter() - began)


@asynccontextmanager
async def rabbitmq(server: RabbitMQServer) -> AsyncIterator[Case]:
    async with (
        open_broker(Settings(rabbitmq_url=server.url()), SYSTEM) as broker,
        await aio_pika.connect(server.url()) as connection,
    ):
        await broker.declare(GROUP, [Measured.event_type])
        channel = await connection.channel(publisher_confirms=True)
        exchange = await channel.get_exchange(f"{SYSTEM}.events")

        async def one(event: Message) -> object:
            message = aio_pika.Message(event.body, message_id=event.id, type=event.type, delivery_mode=2)
            return await exchange.publish(message, f"{event.type}.{partition_of(event.key)}")

        yield Case("RabbitMQ", 7_000, broker, one)


@asynccontextmanager
async def jetstream(server: NatsServer) -> AsyncIterator[Case]:
    async with open_broker(Settings(nats_url=server.url()), SYSTEM) as broker:
        await broker.declare(GROUP, [Measured.event_type])
        client = await nats.connect(server.url())
        stream = client.jetstream()

        async def one(event: Message) -> object:
            return await stream.publish(f"{SYSTEM}.events.{partition_of(event.key)}.{event.type}", event.body)

        yield Case("NATS JetStream", 35_000, broker, one)
        await client.close()


async def compare(
    database: asyncpg.Connection, context: ServiceRuntime, cases: list[Case], options: argparse.Namespace
) -> None:
    alone = max(1, int(options.events * ALONE))
    found: dict[str, list[tuple[float, float]]] = {case.name: [] for case in cases}
    relays = [(case, Relay(context, case.broker)) for case in cases]
    for turn in range(options.rounds + 1):
        for case, relay in relays:
            async with release_lease(relay):
                figures = (
                    await publish_one_at_a_time(database, case.one, alone),
                    await relayed(database, relay, options.events),
                )
            if turn:  # the first round is a warm-up
                found[case.name].append(figures)
    print(f"{'from the outbox to the log, events/s':38}{'one at a time':>14}{'relay':>9}{'ratio':>8}{'wanted':>9}")
    for case in cases:
        one, many = (statistics.median(each[place] for each in found[case.name]) for place in (0, 1))
        print(f"{case.name:38}{one:14,.0f}{many:9,.0f}{many / one:8.1f}{case.wanted:9,}", flush=True)


@asynccontextmanager
async def release_lease(relay: Relay) -> AsyncIterator[None]:
    """Let the relay release its lease at the end, as when its process ends, so that the next relay need not wait."""
    yield
    context = asyncio.create_task(relay.run())
    await asyncio.sleep(0)
    context.cancel()
    await asyncio.wait([context])


async def main(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        postgresql = stack.enter_context(PostgreSQLServer())
        variables = {"DATABASE_URL": postgresql.url("bench_{service}")}
        here = await stack.enter_async_context(host(variables, only=["publisher"], broker=False))
        database = await asyncpg.connect(postgresql.url("bench_publisher"))
        stack.push_async_callback(database.close)
        opened = [rabbitmq(stack.enter_context(RabbitMQServer())), jetstream(stack.enter_context(NatsServer()))]
        cases = [await stack.enter_async_context(each) for each in opened]
        await compare(database, here.contexts["publisher"], cases, options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--events", type=int, default=20_000, help="number of events that the relay publishes in a round"
    )
    uvloop.run(main(parser.parse_args()))
