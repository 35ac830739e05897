"""Rate of confirmed events: batches as the relay sends them, and a standard client that waits for each confirmation.

Each broker is a private server on this machine and shares the cores with the client. Two consumer groups subscribe to
every event. The embedded broker is a file; it is compared with one commit for each event. Run it with `python
bench/brokers.py`. Rounds are interleaved: compare the ratios.
"""

import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aio_pika
import nats
import uvloop
from aiokafka import AIOKafkaProducer

from portico.kit.messaging.brokers.base import Broker, Message, partition_of
from portico.kit.messaging.brokers.factory import open_broker
from portico.kit.messaging.brokers.kafka_connection import arguments
from portico.kit.settings import Settings
from portico.servers import KafkaServer, NatsServer, ProgramMissing, RabbitMQServer

ROUNDS = 5
ALONE = 1000  # events sent one at a time
TOGETHER = 20_000
BATCH = 1000  # batch size of the relay
TYPE = "order.created"
SYSTEM = "bench"
EVENTS = [Message(f"evt_{number}", TYPE, f"ord_{number % 500}", b"x" * 600) for number in range(TOGETHER)]

One = Callable[[Message], Awaitable[object]]


class Case(NamedTuple):
    name: str
    broker: Broker
    one: One


@asynccontextmanager
async def rabbitmq() -> AsyncIterator[Case]:
    with RabbitMQServer() as server:
        async with (
            open_broker(Settings(rabbitmq_url=server.url()), SYSTEM) as broker,
            await aio_pika.connect(server.url()) as connection,
        ):
            await broker.declare("one", [TYPE])
            await broker.declare("two", [TYPE])
            channel = await connection.channel(publisher_confirms=True)
            exchange = await channel.get_exchange(f"{SYSTEM}.events")

            async def one(event: Message) -> object:
                message = aio_pika.Message(event.body, message_id=event.id, type=event.type, delivery_mode=2)
                return await exchange.publish(message, f"{TYPE}.{partition_of(event.key)}")

            yield Case("RabbitMQ", broker, one)


@asynccontextmanager
async def jetstream() -> AsyncIterator[Case]:
    with NatsServer() as server:
        async with open_broker(Settings(nats_url=server.url()), SYSTEM) as broker:
            await broker.declare("one", [TYPE])
            await broker.declare("two", [TYPE])
            client = await nats.connect(server.url())
            stream = client.jetstream()

            async def one(event: Message) -> object:
                return await stream.publish(f"{SYSTEM}.events.{partition_of(event.key)}.{TYPE}", event.body)

            yield Case("NATS JetStream", broker, one)
            await client.close()


@asynccontextmanager
async def kafka() -> AsyncIterator[Case]:
    with KafkaServer() as server:
        async with open_broker(Settings(kafka_url=server.url()), SYSTEM) as broker:
            await broker.declare("one", [TYPE])
            await broker.declare("two", [TYPE])
            async with AIOKafkaProducer(**arguments(server.url()), acks="all") as producer:

                async def one(event: Message) -> object:
                    return await producer.send_and_wait(
                        f"{SYSTEM}.events", event.body, key=event.key.encode(), partition=partition_of(event.key)
                    )

                yield Case("Kafka", broker, one)


@asynccontextmanager
async def embedded() -> AsyncIterator[Case]:
    with tempfile.TemporaryDirectory() as folder:
        async with open_broker(Settings(data_dir=Path(folder)), SYSTEM) as broker:
            await broker.declare("one", [TYPE])
            await broker.declare("two", [TYPE])

            async def one(event: Message) -> object:
                return await broker.publish([event])

            yield Case("embedded", broker, one)


async def alone(case: Case) -> float:
    start = time.perf_counter()
    for event in EVENTS[:ALONE]:
        await case.one(event)
    return ALONE / (time.perf_counter() - start)


async def together(case: Case) -> float:
    start = time.perf_counter()
    for first in range(0, TOGETHER, BATCH):
        await case.broker.publish(EVENTS[first : first + BATCH])
    return TOGETHER / (time.perf_counter() - start)


async def measured(case: Case) -> tuple[float, float]:
    await alone(case)
    rounds = [(await alone(case), await together(case)) for _ in range(ROUNDS)]
    return statistics.median(each for each, _ in rounds), statistics.median(each for _, each in rounds)


async def main() -> None:
    print(f"{'published and confirmed, events/s':34}{'one at a time':>15}{'batches of 1000':>17}{'ratio':>8}")
    for opened in (embedded, rabbitmq, jetstream, kafka):
        async with AsyncExitStack() as stack:
            try:
                case = await stack.enter_async_context(opened())
            except ProgramMissing as missing:
                print(missing)
                continue
            one, many = await measured(case)
            print(f"{case.name:34}{one:15,.0f}{many:17,.0f}{many / one:8.1f}", flush=True)


if __name__ == "__main__":
    uvloop.run(main())
