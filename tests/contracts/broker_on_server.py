"""Contract of brokers whose server is unavailable. A subclass provides the server."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from tests.contracts.broker import CREATED, GROUP
from tests.contracts.broker_of_a_system import BrokerOfASystem, Open

from portico.kit.messaging.brokers.base import Broker, BrokerUnavailable, Message
from portico.servers import Server
from portico.testing.recording_consumer import LIMIT, Listener, RecordingConsumer, firsts_by_key, messages


@pytest.mark.slow
class BrokerOnServerContract(BrokerOfASystem):
    """Subclass it as `TestMyBrokerWithoutItsServer`, with fixtures `running`, the server, and `environ`, which names it.

    Other tests may share the server: a test leaves it running with its data.
    """

    @pytest.fixture
    def server(self, running: Server) -> Iterator[Server]:
        yield running
        if not running.is_ready():
            running.restart()

    async def test_the_server_may_start_later(self, server: Server, broker: Broker) -> None:
        server.kill()
        acts: list[Callable[[], Any]] = [
            broker.check,
            lambda: broker.declare(GROUP, [CREATED]),
            lambda: broker.publish(messages(1)),
            lambda: broker.backlog(GROUP),
        ]
        for act in acts:
            with pytest.raises(BrokerUnavailable):
                await act()

        async with RecordingConsumer(broker, GROUP) as taker:
            await asyncio.to_thread(server.restart)
            await _once_available(lambda: broker.declare(GROUP, [CREATED]))
            await _once_available(lambda: broker.publish(messages(3)))
            await taker.until_taken(["m0", "m1", "m2"])

    async def test_confirmed_messages_survive_kill_9_under_load(
        self, server: Server, broker: Broker, another: Open
    ) -> None:
        async def take_turns(_: Message) -> None:
            await asyncio.sleep(0)

        sent = messages(3000, keys=30)
        back = asyncio.Event()
        await broker.declare(GROUP, [CREATED])
        async with another() as second, another() as third:
            one = RecordingConsumer(second, GROUP, act=take_turns)
            async with one, RecordingConsumer(third, GROUP, act=take_turns, beside=one), asyncio.TaskGroup() as tasks:
                tasks.create_task(_published(broker, sent, back))
                await one.until(lambda: len(one.taken) > 300)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.restart)
                back.set()
                await one.until_taken(each.id for each in sent)

        assert firsts_by_key(one.taken) == firsts_by_key(sent)

    async def test_queued_messages_survive_a_restart(self, server: Server, broker: Broker) -> None:
        await broker.declare(GROUP, [CREATED])
        await broker.publish(messages(50, keys=5))
        server.kill()
        await asyncio.to_thread(server.restart)

        async with RecordingConsumer(broker, GROUP) as taker:
            await taker.until_taken(f"m{number}" for number in range(50))

        assert firsts_by_key(taker.taken) == firsts_by_key(messages(50, keys=5))

    async def test_subscriptions_resume_after_a_restart(self, server: Server, broker: Broker, another: Open) -> None:
        async with another() as second, Listener(second, [CREATED], through=broker) as listener:
            server.kill()
            await asyncio.to_thread(server.restart)
            await listener.until_it_hears()
            await broker.publish(messages(3))
            await listener.until_heard(["m0", "m1", "m2"])

    async def test_an_unresponsive_server_times_out(self, server: Server, broker: Broker) -> None:
        await broker.declare(GROUP, [CREATED])
        server.pause()
        async with asyncio.timeout(LIMIT):
            with pytest.raises(BrokerUnavailable):
                await broker.publish(messages(1))
        server.resume()

        await _once_available(lambda: broker.publish(messages(1)))
        async with RecordingConsumer(broker, GROUP) as taker:
            await taker.until_taken(["m0"])


async def _published(broker: Broker, sent: Sequence[Message], back: asyncio.Event) -> None:
    """Publish all messages in batches like a relay, and repeat each batch until it is confirmed."""
    for start in range(0, len(sent), 100):
        while True:
            try:
                await broker.publish(sent[start : start + 100])
            except BrokerUnavailable:
                await back.wait()
            else:
                break


async def _once_available(act: Callable[[], Awaitable[Any]]) -> None:
    """Run `act` again until the restarted server is available. Raises TimeoutError."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                await act()
            except BrokerUnavailable:
                await asyncio.sleep(0)
            else:
                return
