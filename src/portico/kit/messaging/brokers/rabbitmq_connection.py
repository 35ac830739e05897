"""Connection to RabbitMQ, with error translation."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Self, cast

import aiormq
from aiormq import Channel
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPError
from yarl import URL

from portico.kit.foundation.aio import is_cancelled
from portico.kit.messaging.brokers.base import BrokerUnavailable

REQUEST_TIMEOUT = 10.0  # seconds to wait for a response
_CONNECT = 5.0  # seconds to connect
_CLOSE = 1.0  # seconds to wait for the connection to close
_PORT = 5672
_HEARTBEAT = 10  # seconds without data after which the connection is checked


class RabbitMQConnection:
    """A connection, used in `async with`. Raises BrokerUnavailable if it cannot be opened."""

    def __init__(self, url: str) -> None:
        address = URL(url)
        self._url = address if "heartbeat" in address.query else address.update_query(heartbeat=_HEARTBEAT)
        self._connection: AbstractConnection | None = None
        self._consumer_cancelled: asyncio.Future[None]

    async def __aenter__(self) -> Self:
        async with translate_errors(_CONNECT, f"RabbitMQ at {self._url.host}:{self._url.port or _PORT}"):
            self._connection = await aiormq.connect(self._url)
        self._consumer_cancelled = asyncio.get_running_loop().create_future()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def is_usable(self) -> bool:
        return self._connection is not None and self._connection.is_opened

    async def channel(self, *, publisher_confirms: bool) -> Channel:
        if self._connection is None:
            raise BrokerUnavailable("the connection is closed")
        channel = cast("Channel", await self._connection.channel(publisher_confirms=publisher_confirms))
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        return channel

    async def watch(self, channels: Iterable[Channel], seconds: float) -> None:
        """Wait. Raises BrokerUnavailable if the connection, a channel or one of its consumers ends."""
        if self._connection is None:
            raise BrokerUnavailable("the connection is closed")
        ends = {self._connection.closing, self._consumer_cancelled, *(each.closing for each in channels)}
        done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if done:
            raise BrokerUnavailable("the connection to RabbitMQ ended")

    def _on_cancel(self, _: object) -> None:  # the queue was deleted or moved
        if not self._consumer_cancelled.done():
            self._consumer_cancelled.set_result(None)

    async def aclose(self) -> None:
        """Close the connection. Pending requests fail."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # the connection may be lost already
                async with asyncio.timeout(_CLOSE):
                    await connection.close(ConnectionError("closed"))


@asynccontextmanager
async def translate_errors(within: float = REQUEST_TIMEOUT, server: str = "RabbitMQ") -> AsyncIterator[None]:
    """Raise driver errors and time-outs as BrokerUnavailable.

    Args:
        within: time-out in seconds.
        server: name of the server in the error message.
    """
    try:
        async with asyncio.timeout(within):
            yield
    except TimeoutError as error:
        raise BrokerUnavailable(f"{server} did not respond within {within:.0f} s") from error
    except (
        AMQPError,
        OSError,
        RuntimeError,
        EOFError,
    ) as error:  # aiormq raises RuntimeError for a closed channel
        raise BrokerUnavailable(f"{server}: {type(error).__name__}: {error}") from error
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        # The driver cancels tasks that wait on a closed connection. This task was not cancelled from outside.
        raise BrokerUnavailable(f"the connection to {server} ended") from error
