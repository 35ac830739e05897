"""One connection to RabbitMQ, whose end is always told as one kind of error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self, cast

import aiormq
from aiormq import Channel
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPError
from yarl import URL

from portico.kit.foundation.aio import is_cancelled
from portico.kit.messaging.brokers.base import BrokerUnavailable

PATIENCE = 10.0  # seconds for an answer
_CONNECT = 5.0  # seconds
_CLOSE = 1.0  # seconds
_PORT = 5672
_HEARTBEAT = 10  # seconds until a connection on which nothing comes is looked at


class RabbitMQConnection:
    """A connection, used in `async with`. Raises BrokerUnavailable where there is none to be had."""

    def __init__(self, url: str) -> None:
        address = URL(url)
        self._url = address if "heartbeat" in address.query else address.update_query(heartbeat=_HEARTBEAT)
        self._connection: AbstractConnection | None = None

    async def __aenter__(self) -> Self:
        async with understood(_CONNECT, f"RabbitMQ at {self._url.host}:{self._url.port or _PORT}"):
            self._connection = await aiormq.connect(self._url)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def is_usable(self) -> bool:
        return self._connection is not None and self._connection.is_opened

    async def channel(self, *, publisher_confirms: bool) -> Channel:
        if self._connection is None:
            raise BrokerUnavailable("the connection is closed")
        return cast("Channel", await self._connection.channel(publisher_confirms=publisher_confirms))

    async def lost(self, channel: Channel) -> None:
        """Wait until the connection, the channel or one of its consumers has ended. Raises BrokerUnavailable."""
        if self._connection is None:
            raise BrokerUnavailable("the connection is closed")
        cancelled = asyncio.get_running_loop().create_future()

        def on_cancel(_: object) -> None:  # its queue is gone, or has moved
            if not cancelled.done():
                cancelled.set_result(None)

        channel.on_consumer_cancel_callbacks.add(on_cancel)
        await asyncio.wait({self._connection.closing, channel.closing, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        raise BrokerUnavailable("the connection to RabbitMQ ended")

    async def aclose(self) -> None:
        """Close it. Who waits for an answer on it is told that it is lost."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # it may be lost already: then there is nothing to close
                async with asyncio.timeout(_CLOSE):
                    await connection.close(ConnectionError("closed"))


@asynccontextmanager
async def understood(patience: float = PATIENCE, server: str = "RabbitMQ") -> AsyncIterator[None]:
    """Tell every failure of the broker or its driver as BrokerUnavailable, also silence for longer than `patience` (seconds)."""
    try:
        async with asyncio.timeout(patience):
            yield
    except TimeoutError as error:
        raise BrokerUnavailable(f"{server} gave no answer for {patience:.0f} s") from error
    except (
        AMQPError,
        OSError,
        RuntimeError,
        EOFError,
    ) as error:  # aiormq's word for a closed channel is a RuntimeError
        raise BrokerUnavailable(f"{server}: {type(error).__name__}: {error}") from error
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        # The driver cancels who waits on a connection that ends; nobody has cancelled this task.
        raise BrokerUnavailable(f"the connection to {server} ended") from error
