"""Connection to NATS, with error translation."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from portico.kit._compat import is_enabled
from portico.kit.messaging.brokers.base import BrokerUnavailable, Message
from portico.kit.messaging.brokers.keyed_dispatcher import run_until_first_ends
from portico.kit.messaging.brokers.nats_messages import encode, headers_of, subject_of

if TYPE_CHECKING:
    from portico.kit._compat.nats import BatchingClient

_WRITE_SIZE = 250  # messages per write
REQUEST_TIMEOUT = 10.0  # seconds to wait for a response
_CONNECT = 10.0  # seconds to connect to any server
_CONNECT_EACH = 2  # seconds to connect to one server
_CLOSE = 1.0  # seconds to wait for the connection to close
_PING = 5  # seconds between pings; the second unanswered ping ends the connection


class NatsConnection:
    """A connection, used in `async with`. Raises BrokerUnavailable if it cannot be opened.

    It does not reconnect: the driver would send its buffered messages after a loss, out of order.
    """

    def __init__(self, url: str) -> None:
        self._servers = [each.strip() for each in url.split(",")]
        self.lost = asyncio.Event()
        self._batches: dict[str, _Batch] = {}
        self._made = 0
        self._batching = _batching_client(self._on_stored) if is_enabled("nats_publish") else None
        self.client: Client = self._batching or Client()
        self._inbox = self._batching.inbox if self._batching else self.client.new_inbox()

    async def __aenter__(self) -> Self:
        try:
            async with translate_errors(_CONNECT):
                await self._connect()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def _connect(self) -> None:
        await self.client.connect(
            self._servers,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # 0 means unlimited
            reconnect_time_wait=0,
            connect_timeout=_CONNECT_EACH,
            ping_interval=_PING,
            closed_cb=self._on_closed,
            error_cb=_ignore_error,
        )
        await self.client.subscribe(f"{self._inbox}.*.*", cb=self._on_response)

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def is_usable(self) -> bool:
        return self.client.is_connected and not self.lost.is_set()

    async def publish(self, subjects: str, messages: Sequence[Message]) -> dict[int, dict[str, Any]]:
        """Send all messages in order and wait until JetStream has confirmed or rejected each.

        The subjects are `{subjects}.{partition}.{type}`.

        Returns:
            The errors, by the index of the message.

        Raises:
            BrokerUnavailable: some messages have no response.
        """
        self._made += 1
        name = str(self._made)
        batch = self._batches[name] = _Batch(len(messages))
        try:
            async with translate_errors():
                for first in range(0, len(messages), _WRITE_SIZE):
                    some = enumerate(messages[first : first + _WRITE_SIZE], first)
                    await self._send(subjects, f"{self._inbox}.{name}", some)
                    # Let the driver's task write: the server starts while the rest is built.
                    await asyncio.sleep(0)
                await run_until_first_ends(batch.complete.wait(), self.lost.wait())
        finally:
            del self._batches[name]
        if not batch.complete.is_set():
            raise BrokerUnavailable("the connection to NATS ended")
        return batch.errors

    async def _send(self, subjects: str, replies: str, messages: Iterable[tuple[int, Message]]) -> None:
        if self._batching is not None:
            frames = b"".join(encode(subjects, f"{replies}.{place}", each) for place, each in messages)
            await self._batching.send(frames)
            return
        for place, each in messages:
            reply = f"{replies}.{place}"
            await self.client.publish(subject_of(subjects, each), each.body, reply=reply, headers=headers_of(each))

    async def aclose(self) -> None:
        self.lost.set()
        with suppress(Exception):  # the connection may be lost already
            async with asyncio.timeout(_CLOSE):
                await self.client.close()

    async def _on_closed(self) -> None:
        self.lost.set()

    def _on_stored(self, name: str, count: int) -> None:
        batch = self._batches.get(name)
        if batch is not None:
            batch.count(count)

    async def _on_response(self, answer: Msg) -> None:
        _, name, place = answer.subject.rsplit(".", 2)
        batch = self._batches.get(name)
        if batch is not None:
            batch.take(int(place), answer)


class _Batch:
    """Confirmations of messages that were sent together."""

    def __init__(self, left: int) -> None:
        self._left = left
        self.errors: dict[int, dict[str, Any]] = {}
        self.complete = asyncio.Event()

    def take(self, place: int, answer: Msg) -> None:
        if not answer.data:  # the subject has no subscriber: the stream does not exist
            self.errors[place] = {"code": 503, "description": "no stream stores it"}
        elif b'"error"' in answer.data:
            self.errors[place] = orjson.loads(answer.data)["error"]
        self.count(1)

    def count(self, answers: int) -> None:
        self._left -= answers
        if not self._left:
            self.complete.set()


def _batching_client(on_stored: Callable[[str, int], None]) -> "BatchingClient":
    from portico.kit._compat.nats import BatchingClient

    return BatchingClient(on_stored)


@asynccontextmanager
async def translate_errors(within: float | None = REQUEST_TIMEOUT) -> AsyncIterator[None]:
    """Raise driver errors and time-outs as BrokerUnavailable.

    Args:
        within: time-out in seconds; None for no limit.
    """
    try:
        async with asyncio.timeout(within):
            yield
    except TimeoutError as error:
        raise BrokerUnavailable("NATS did not respond in time") from error
    except (nats.errors.Error, OSError, EOFError) as error:
        raise BrokerUnavailable(f"NATS: {type(error).__name__}: {error}") from error


async def _ignore_error(_: Exception) -> None:
    """Ignore driver errors: the caller of each operation receives its own error."""
