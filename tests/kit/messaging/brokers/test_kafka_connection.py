import asyncio

import pytest

from portico.kit.messaging.brokers.kafka_connection import close_client


class TestClosed:
    async def test_a_client_closes_to_its_end_however_often_the_wait_for_it_is_cancelled(self) -> None:
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

    async def test_a_client_that_fails_to_close_is_let_go(self) -> None:
        async def stop() -> None:
            raise ConnectionResetError

        await close_client(stop())
