"""Contract of brokers. A subclass provides the settings that open one."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack

import psutil
from tests.contracts.broker_of_a_system import BrokerOfASystem, Open

from portico.kit.messaging.brokers.base import MAX_MESSAGE, Broker, Message
from portico.testing.recording_consumer import LIMIT, RecordingConsumer, by_partition, firsts_by_key, messages

GROUP = "shipping"
CREATED, UPDATED, DELETED = "order.created", "order.updated", "order.deleted"

# Runs in its own process: handles the first message of each key and is killed while handling the second.
TAKE_ONE_OF_EACH = """
import asyncio, os, sys
from portico.kit.messaging.brokers.factory import open_broker
from portico.kit.settings import Settings, read_settings

async def main(system, group):
    known = set()

    async def deliver(message):
        print(message.id, flush=True)
        if message.key in known:
            await asyncio.Event().wait()
        known.add(message.key)

    async with open_broker(read_settings(Settings, environ=os.environ, dotenv_file=None).value, system) as broker:
        await broker.consume(group, deliver, concurrency=16)

asyncio.run(main(*sys.argv[1:]))
"""


async def _until_waiting(broker: Broker, number: int) -> None:
    async with asyncio.timeout(LIMIT):
        while await broker.backlog(GROUP) != number:
            pass


class BrokerContract(BrokerOfASystem):
    """Subclass it as `TestMyBroker`, with a fixture `environ`: the environment variables that name the broker."""

    async def test_it_responds(self, broker: Broker) -> None:
        await broker.check()

    async def test_a_message_arrives_unchanged(self, broker: Broker) -> None:
        await broker.declare(GROUP, [CREATED])
        sent = [
            Message("evt_1", CREATED, "ord_1", b'{"total": 12}'),
            Message("evt 2%", CREATED, "Größe: 7 %20", b"no JSON \x00\xff\r\n"),
            Message("evt_3", CREATED, "ord_3", b""),
        ]

        assert await broker.publish(sent) == {}
        async with RecordingConsumer(broker, GROUP) as taker:
            await taker.until_taken(each.id for each in sent)

        assert sorted(taker.taken, key=lambda each: each.id) == sorted(sent, key=lambda each: each.id)

    async def test_publishing_no_messages_is_allowed(self, broker: Broker) -> None:
        assert await broker.publish([]) == {}

    async def test_each_group_gets_what_it_declared(self, broker: Broker) -> None:
        await broker.declare("shipping", [CREATED])
        await broker.declare("search", [CREATED, UPDATED])
        sent = [Message("m1", CREATED, "a", b""), Message("m2", UPDATED, "a", b""), Message("m3", DELETED, "a", b"")]

        await broker.publish([*sent, Message("m4", CREATED, "a", b"")])
        async with RecordingConsumer(broker, "shipping") as shipping, RecordingConsumer(broker, "search") as search:
            await shipping.until_taken(["m4"])
            await search.until_taken(["m4"])

        assert [each.id for each in shipping.taken] == ["m1", "m4"]
        assert [each.id for each in search.taken] == ["m1", "m2", "m4"]

    async def test_systems_are_separate(self, broker: Broker, of_another_system: Open) -> None:
        await broker.declare(GROUP, [CREATED])
        async with of_another_system() as other:
            await other.declare(GROUP, [CREATED])
            await other.publish([Message("theirs", CREATED, "a", b"")])

            assert (await broker.backlog(GROUP), await other.backlog(GROUP)) == (0, 1)

    async def test_a_late_group_gets_messages_published_after_its_declaration(self, broker: Broker) -> None:
        await broker.declare("early", [CREATED])
        await broker.publish([Message("before", CREATED, "a", b"")])
        await broker.declare("late", [CREATED])
        await broker.publish([Message("after", CREATED, "a", b"")])

        async with RecordingConsumer(broker, "early") as early, RecordingConsumer(broker, "late") as late:
            await early.until_taken(["before", "after"])
            await late.until_taken(["after"])

        assert [each.id for each in late.taken] == ["after"]

    async def test_a_type_that_is_no_longer_declared_is_not_delivered(self, broker: Broker, another: Open) -> None:
        await broker.declare(GROUP, [CREATED, UPDATED])
        async with another() as newer:
            await newer.declare(GROUP, [UPDATED, DELETED])
        await broker.publish([Message(each, each, "a", b"") for each in (CREATED, UPDATED, DELETED)])

        async with RecordingConsumer(broker, GROUP) as taker:
            await taker.until_taken([DELETED])

        assert [each.id for each in taker.taken] == [UPDATED, DELETED]

    async def test_declaring_again_loses_nothing(self, broker: Broker) -> None:
        await broker.declare(GROUP, [CREATED])
        await broker.publish(messages(20, keys=4))
        await broker.declare(GROUP, [CREATED, UPDATED])
        await broker.declare(GROUP, [CREATED, UPDATED])

        assert await broker.backlog(GROUP) == 20

    async def test_consuming_waits_until_the_group_is_declared(self, broker: Broker) -> None:
        async with RecordingConsumer(broker, GROUP) as taker:
            await broker.declare(GROUP, [CREATED])
            await broker.publish(messages(3))
            await taker.until_taken(["m0", "m1", "m2"])

    async def test_a_message_waits_until_it_is_acknowledged(self, broker: Broker) -> None:
        may_end = asyncio.Event()

        async def wait(_: Message) -> None:
            await may_end.wait()

        await broker.declare(GROUP, [CREATED])
        await broker.publish(messages(24, keys=12))
        before = await broker.backlog(GROUP)
        async with RecordingConsumer(broker, GROUP, concurrency=2, act=wait) as taker:
            await taker.until(lambda: taker.under_way == 2)
            await _until_waiting(broker, 24)  # a message in transit may be counted twice
            may_end.set()
            await taker.until_taken(f"m{number}" for number in range(24))
            await _until_waiting(broker, 0)

        assert before == 24

    async def test_an_unacknowledged_message_is_redelivered_before_later_ones(self, broker: Broker) -> None:
        async def refuse_twice(message: Message) -> None:
            if message.id == "m1" and taker.tries.count("m1") < 3:
                raise LookupError("not yet")

        await broker.declare(GROUP, [CREATED])
        await broker.publish(messages(4))
        async with RecordingConsumer(broker, GROUP, act=refuse_twice) as taker:
            await taker.until_taken(["m3"])

        assert taker.tries == ["m0", "m1", "m1", "m1", "m2", "m3"]

    async def test_a_failing_message_does_not_block_other_partitions(self, broker: Broker) -> None:
        poisoned, *healthy = by_partition()

        async def refuse(message: Message) -> None:
            if message.key == poisoned:
                raise ValueError("poison")

        await broker.declare(GROUP, [CREATED])
        await broker.publish([Message("poison", CREATED, poisoned, b""), Message("behind", CREATED, poisoned, b"")])
        await broker.publish([Message(f"{turn} {key}", CREATED, key, b"") for turn in range(50) for key in healthy])
        async with RecordingConsumer(broker, GROUP, concurrency=1, act=refuse) as taker:
            await taker.until_taken(f"{turn} {key}" for turn in range(50) for key in healthy)
            await taker.until(lambda: taker.tries.count("poison") >= 3)

        assert "behind" not in taker.tries

    async def test_messages_of_a_key_are_ordered_with_several_consumers(self, broker: Broker, another: Open) -> None:
        async def take_turns(_: Message) -> None:
            await asyncio.sleep(0)

        await broker.declare(GROUP, [CREATED])
        sent = messages(400, keys=20)
        async with another() as second, another() as third:
            one = RecordingConsumer(second, GROUP, act=take_turns)
            async with one, RecordingConsumer(third, GROUP, act=take_turns, beside=one):
                for start in range(0, 400, 100):
                    await broker.publish(sent[start : start + 100])
                await one.until_taken(each.id for each in sent)

        assert firsts_by_key(one.taken) == firsts_by_key(sent)
        assert one.max_concurrent_per_key == 1

    async def test_different_keys_are_delivered_concurrently_up_to_the_limit(self, broker: Broker) -> None:
        may_end = asyncio.Event()

        async def wait(_: Message) -> None:
            await may_end.wait()

        await broker.declare(GROUP, [CREATED])
        await broker.publish(
            [Message(f"{turn} {key}", CREATED, key, b"") for turn in range(3) for key in by_partition()]
        )
        async with RecordingConsumer(broker, GROUP, concurrency=5, act=wait) as taker:
            await taker.until(lambda: taker.under_way == 5)
            may_end.set()
            await taker.until(lambda: len(taker.taken) == 24)

        assert taker.max_concurrent == 5

    async def test_a_republished_message_is_delivered_at_least_once(self, broker: Broker) -> None:
        await broker.declare(GROUP, [CREATED])
        sent = messages(10, keys=3)

        await broker.publish(sent)
        await broker.publish(sent)
        async with RecordingConsumer(broker, GROUP) as taker:
            await taker.until_taken(each.id for each in sent)

        assert firsts_by_key(taker.taken) == firsts_by_key(sent)

    async def test_a_large_message_is_rejected_with_later_ones_of_its_key(self, broker: Broker) -> None:
        await broker.declare(GROUP, [CREATED])
        before, too_large, behind, other, later = (
            Message("before", CREATED, "a", b"x" * (MAX_MESSAGE - 2048)),
            Message("too large", CREATED, "a", b"x" * 5_000_000),
            Message("behind", CREATED, "a", b"x"),
            Message("other", CREATED, "b", b"x"),
            Message("later", CREATED, "a", b"x"),
        )

        refused = await broker.publish([before, too_large, behind, other])
        await broker.publish([later])
        async with RecordingConsumer(broker, GROUP) as taker:
            await taker.until_taken(["before", "other", "later"])

        assert [*refused] == ["too large"]
        assert refused["too large"].startswith("larger than ")
        assert [each for each in taker.taken if each.key == "a"] == [before, later]

    async def test_unacknowledged_messages_go_to_the_next_consumer(self, broker: Broker, another: Open) -> None:
        async def never(_: Message) -> None:
            await asyncio.Event().wait()

        await broker.declare(GROUP, [CREATED])
        sent = messages(60, keys=12)
        await broker.publish(sent)
        async with another() as leaving:
            async with RecordingConsumer(leaving, GROUP, concurrency=4, act=never) as taker:
                await taker.until(lambda: taker.under_way == 4)
            at_the_end = taker.under_way
        async with RecordingConsumer(broker, GROUP) as taker:
            await taker.until_taken(each.id for each in sent)

        assert at_the_end == 0
        assert firsts_by_key(taker.taken) == firsts_by_key(sent)

    async def test_messages_of_a_killed_consumer_go_to_another_in_order(
        self, broker: Broker, environ: Mapping[str, str], system: str
    ) -> None:
        keys = by_partition()
        sent = [Message(f"{turn} {key}", CREATED, key, b"") for turn in range(6) for key in keys]
        await broker.declare(GROUP, [CREATED])
        await broker.publish(sent)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", TAKE_ONE_OF_EACH, system, GROUP),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
        )
        async with asyncio.timeout(LIMIT), AsyncExitStack() as at_the_end:
            at_the_end.callback(child.kill)
            assert child.stdout is not None
            seen = [(await child.stdout.readline()).decode().strip() for _ in range(2 * len(keys))]
        await child.wait()
        async with RecordingConsumer(broker, GROUP) as taker:
            await taker.until_taken(each.id for each in sent if not each.id.startswith("0 "))

        assert set(seen) == {f"{turn} {key}" for turn in (0, 1) for key in keys}
        assert all(
            ids[-5:] == [f"{turn} {key}" for turn in range(1, 6)] for key, ids in firsts_by_key(taker.taken).items()
        )

    async def test_a_slow_consumer_prefetches_a_limited_number(self, broker: Broker, another: Open) -> None:
        async def never(_: Message) -> None:
            await asyncio.Event().wait()

        await broker.declare(GROUP, [CREATED])
        body = b"x" * 128 * 1024
        for turn in range(100):
            await broker.publish([Message(f"{turn} {key}", CREATED, key, body) for key in by_partition()])
        process = psutil.Process()
        before = process.memory_info().rss
        async with another() as slow, RecordingConsumer(slow, GROUP, concurrency=2, act=never) as taker:
            await taker.until(lambda: taker.under_way == 2)
            for _ in range(50):  # let further deliveries arrive
                await slow.backlog(GROUP)
            grown = process.memory_info().rss - before

        assert grown < 100 * 8 * len(body) / 2
