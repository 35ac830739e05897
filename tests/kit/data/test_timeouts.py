import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from portico.kit.data.timeouts import connect_options


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """Return the port of a server that accepts connections and sends nothing."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


class TestConnectOptions:
    @pytest.mark.parametrize("driver", ["postgresql+asyncpg", "mysql+asyncmy"])
    async def test_connecting_to_a_silent_server_times_out(self, driver: str, silent_port: int) -> None:
        address = URL.create(driver, "me", "secret", "127.0.0.1", silent_port, "shop")
        engine = create_async_engine(address, connect_args=connect_options(address, seconds=0.1))

        async with asyncio.timeout(30):
            with pytest.raises(TimeoutError):
                await engine.connect()

        await engine.dispose()
