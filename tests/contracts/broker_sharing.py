"""Contract of brokers: the consumers of a group share its partitions. A subclass provides the settings that open one."""

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from tests.contracts.broker_of_a_system import BrokerOfASystem, Open

from portico.kit.foundation import wait_for_event
from portico.kit.messaging.brokers.base import PARTITIONS, Broker, Message, partition_of
from portico.testing.recording_consumer import (
    LIMIT,
    RecordingConsumer,
    by_partition,
    end_consuming,
    firsts_by_key,
    messages,
)

GROUP = "shipping"
CREATED = "order.created"
_CHANGES = 7  # of the consumers

# Runs in its own process: prints each key once, when it handles a message.
HANDLE = """
import asyncio, os, sys
from portico.kit.messaging.brokers.factory import open_broker
from portico.kit.settings import Settings, read_settings

async def main(system, group):
    known = set()

    async def deliver(message):
        if message.key not in known:
            known.add(message.key)
            print(message.key, flush=True)

    async with open_broker(read_settings(Settings, environ=os.environ, dotenv_file=None).value, system) as broker:
        await broker.consume(group, deliver, concurrency=16)

asyncio.run(main(*sys.argv[1:]))
"""


def one_of_each_partition(turn: int) -> list[Message]:
    return [Message(f"{turn} {key}", CREATED, key, b"") for key in by_partition()]


def partitions_of(consumer: RecordingConsumer) -> set[int]:
    return {partition_of(each.key) for each in consumer.taken}


class BrokerSharingContract(BrokerOfASystem):
    """Subclass it as `TestMyBrokerSharing`, with a fixture `environ`: the environment variables that name the broker."""

    async def test_three_consumers_each_handle_a_part(self, broker: Broker, another: Open) -> None:
        await broker.declare(GROUP, [CREATED])
        async with another() as second, another() as third:
            consumers = [RecordingConsumer(each, GROUP) for each in (broker, second, third)]
            async with consumers[0], consumers[1], consumers[2]:
                await _publish_until_all_take(broker, *consumers)
                taken = [message for each in consumers for message in each.taken]

        assert len({each.id for each in taken}) == len(taken)

    async def test_a_consumer_that_leaves_is_replaced(self, broker: Broker, another: Open) -> None:
        await broker.declare(GROUP, [CREATED])
        async with RecordingConsumer(broker, GROUP) as remaining:
            async with another() as second, RecordingConsumer(second, GROUP) as leaving:
                await _publish_until_all_take(broker, remaining, leaving)
            sent = one_of_each_partition(-1)
            await broker.publish(sent)
            await remaining.until_taken(each.id for each in sent)

        assert partitions_of(remaining) == set(range(PARTITIONS))

    async def test_a_killed_consumer_is_replaced(self, broker: Broker, environ: Mapping[str, str], system: str) -> None:
        await broker.declare(GROUP, [CREATED])
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HANDLE, system, GROUP),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
        )
        assert child.stdout is not None
        try:
            async with asyncio.timeout(2 * LIMIT):
                sent = one_of_each_partition(0)
                await broker.publish(sent)
                keys = {(await child.stdout.readline()).decode().strip() for _ in sent}
                async with RecordingConsumer(broker, GROUP) as remaining:
                    await _publish_until_taken(broker, remaining)
                    child.kill()
                    sent = one_of_each_partition(-1)
                    await broker.publish(sent)
                    await remaining.until_taken(each.id for each in sent)
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()

        assert keys == set(by_partition())

    async def test_messages_of_a_key_stay_in_order_while_consumers_come_and_go(
        self, broker: Broker, another: Open
    ) -> None:
        draw = random.Random(7)  # noqa: S311  # the order of changes
        await broker.declare(GROUP, [CREATED])
        sent: list[Message] = []

        async def publish() -> None:
            more = messages(12, keys=12, first=len(sent))
            sent.extend(more)
            await broker.publish(more)

        async def take_turns(_: Message) -> None:
            for _ in range(draw.randrange(4)):
                await asyncio.sleep(0)

        recorder = RecordingConsumer(broker, GROUP, act=take_turns)
        consumers: list[AsyncExitStack] = []
        async with recorder, AsyncExitStack() as at_the_end:
            for _ in range(_CHANGES):
                await publish()
                if len(consumers) == 2 or (consumers and draw.random() < 0.5):
                    await consumers.pop(draw.randrange(len(consumers))).aclose()
                else:
                    stack = await at_the_end.enter_async_context(AsyncExitStack())
                    await _join(stack, another, recorder, publish)
                    consumers.append(stack)
            await recorder.until_taken(each.id for each in sent)

        assert firsts_by_key(recorder.taken) == firsts_by_key(sent)
        assert recorder.max_concurrent_per_key == 1


class BrokerHandOverContract(BrokerOfASystem):
    """The same, for brokers of which one process may have many unacknowledged messages of a partition."""

    async def test_a_partition_is_handed_over_after_its_deliveries_have_ended(
        self, broker: Broker, another: Open
    ) -> None:
        at_once: set[str] = set()
        taken: list[str] = []
        begun, handed_over = asyncio.Event(), asyncio.Event()

        async def never_end(message: Message) -> None:
            at_once.add(message.key)
            if len(at_once) == PARTITIONS:
                begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                at_once.discard(message.key)

        async def take(message: Message) -> None:
            assert message.key not in at_once
            taken.append(message.id)
            if len(taken) == PARTITIONS:
                handed_over.set()

        await broker.declare(GROUP, [CREATED])
        await broker.publish([*one_of_each_partition(0), *one_of_each_partition(1)])
        async with asyncio.timeout(LIMIT), another() as second:
            first = asyncio.create_task(broker.consume(GROUP, never_end, concurrency=16))
            await begun.wait()
            other = asyncio.create_task(second.consume(GROUP, take, concurrency=16))
            await handed_over.wait()
            for each in (other, first):  # the other way round, `other` would take the partitions of `first`
                await end_consuming(each)

        keys = {each.partition(" ")[2] for each in taken}
        assert len(keys) == PARTITIONS / 2
        assert all([each for each in taken if each.endswith(f" {key}")] == [f"0 {key}", f"1 {key}"] for key in keys)


async def _join(
    stack: AsyncExitStack, another: Open, recorder: RecordingConsumer, publish: Callable[[], Awaitable[None]]
) -> None:
    """Add a consumer, and publish until it has handled a message."""
    has_part = asyncio.Event()

    async def deliver(message: Message) -> None:
        has_part.set()
        await recorder.deliver(message)

    broker = await stack.enter_async_context(another())
    consuming = asyncio.create_task(broker.consume(GROUP, deliver, concurrency=16))

    stack.push_async_callback(end_consuming, consuming)
    async with asyncio.timeout(LIMIT):
        while not await wait_for_event(has_part, 0.2):
            await publish()


async def _publish_until_all_take(broker: Broker, *consumers: RecordingConsumer) -> None:
    """Publish to all partitions until each consumer has handled a message that the other one has not. Raises TimeoutError."""
    async with asyncio.timeout(LIMIT):
        turn = 0
        while not all(each.taken for each in consumers):
            turn += 1
            await _publish_turn(broker, turn, *consumers)


async def _publish_until_taken(broker: Broker, consumer: RecordingConsumer) -> None:
    """Publish to all partitions until the consumer has handled a message. Raises TimeoutError."""
    async with asyncio.timeout(LIMIT):
        turn = 0
        while not consumer.taken:
            turn += 1
            await broker.publish(one_of_each_partition(turn))
            await broker.backlog(GROUP)


async def _publish_turn(broker: Broker, turn: int, *consumers: RecordingConsumer) -> None:
    sent = one_of_each_partition(turn)
    await broker.publish(sent)
    wanted = {each.id for each in sent}
    while not wanted <= {each.id for consumer in consumers for each in consumer.taken}:
        await broker.backlog(GROUP)
