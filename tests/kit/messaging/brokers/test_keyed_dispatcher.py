import asyncio
from collections.abc import Callable

from structlog.testing import capture_logs

from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.brokers.keyed_dispatcher import (
    KeyedDispatcher,
    consume_until_cancelled,
    run_until_first_ends,
)
from portico.testing.recording_consumer import by_partition


class Deliveries:
    """Records messages, and holds those of some keys until the test lets them go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.acknowledged: list[str] = []
        self.open = asyncio.Event()
        self._changed = asyncio.Condition()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def deliver(self, message: Message) -> None:
        self.begun.append(message.id)
        await self._tell()
        try:
            await self.open.wait()
        finally:
            self.ended.append(message.id)

    def add(self, dispatcher: KeyedDispatcher, message: Message) -> None:
        async def acknowledge() -> None:
            self.acknowledged.append(message.id)
            await self._tell()

        dispatcher.add(message, acknowledge)


class TestWithdraw:
    async def test_waits_for_deliveries_and_forgets_what_waits_behind_them(self) -> None:
        deliveries, (withdrawn, other, *_) = Deliveries(), by_partition()
        async with asyncio.timeout(20), KeyedDispatcher("shipping", deliveries.deliver, 16) as dispatcher:
            for number, key in enumerate([withdrawn, withdrawn, other, other]):
                deliveries.add(dispatcher, Message(f"m{number}", "order.created", key, b""))
            withdrawing = asyncio.create_task(dispatcher.withdraw([0]))
            await deliveries.until(lambda: len(deliveries.begun) == 2)
            deliveries.open.set()
            await withdrawing
            at_the_end = list(deliveries.ended)
            await deliveries.until(lambda: len(deliveries.acknowledged) == 3)

        assert "m0" in at_the_end
        assert sorted(deliveries.acknowledged) == ["m0", "m2", "m3"]

    async def test_cancels_a_delivery_that_takes_long(self) -> None:
        deliveries, (withdrawn, *_) = Deliveries(), by_partition()
        async with asyncio.timeout(20), KeyedDispatcher("shipping", deliveries.deliver, 16) as dispatcher:
            deliveries.add(dispatcher, Message("m0", "order.created", withdrawn, b""))

            await dispatcher.withdraw([0])

            ended = list(deliveries.ended)
            deliveries.open.set()
            deliveries.add(dispatcher, Message("m1", "order.created", withdrawn, b""))
            await deliveries.until(lambda: len(deliveries.acknowledged) == 1)

        assert ended == ["m0"]
        assert deliveries.acknowledged == ["m1"]


class TestConsumeUntilCancelled:
    async def test_continues_after_an_unexpected_error(self) -> None:
        errors = [ValueError("a header is not valid"), ValueError("a header is not valid")]
        again = asyncio.Event()

        async def once() -> None:
            if errors:
                raise errors.pop()
            again.set()
            await asyncio.Event().wait()

        with capture_logs() as lines:
            async with asyncio.timeout(20):
                await run_until_first_ends(consume_until_cancelled("shipping", once), again.wait())

        first, repeated = lines
        assert (first["event"], first["group"], first["log_level"]) == ("consuming_failed", "shipping", "error")
        assert (repeated["event"], repeated["log_level"]) == ("consuming_failed", "warning")
        assert repeated["error"] == "ValueError('a header is not valid')"
