import asyncio

import pytest

from portico.kit.messaging.brokers.kafka_connection import close_client


class TestCloseClient:
    async def test_repeated_cancellation_does_not_interrupt_closing(self) -> None:
        begun, may_end = asyncio.Event(), asyncio.Event()
        ends: list[str] = []

        async def stop() -> None:
            begun.set()
            await may_end.wait()
            ends.append("closed")

        closing = asyncio.create_task(close_client(stop()))
        await begun.wait()
        for _ in range(2):
            closing.cancel()
            await asyncio.sleep(0)
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await closing

        assert ends == ["closed"]

    async def test_a_failure_to_close_is_ignored(self) -> None:
        async def stop() -> None:
            raise ConnectionResetError

        await close_client(stop())
