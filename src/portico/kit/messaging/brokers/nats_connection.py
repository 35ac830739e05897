"""One connection to NATS, whose end is always told as one kind of error."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import nats.errors
import orjson
from nats.aio.msg import Msg

from portico.kit.messaging.brokers.base import BrokerUnavailable, Message
from portico.kit.messaging.brokers.keyed_dispatcher import first_to_end
from portico.kit.messaging.brokers.nats_sending import SendingClient, frame

_SENT_TOGETHER = 250  # messages
PATIENCE = 10.0  # seconds for an answer
_CONNECT = 10.0  # seconds, of which each server has
_CONNECT_EACH = 2
_CLOSE = 1.0  # seconds
_PING = 5  # seconds between two pings; the second that is not answered ends the connection


class NatsConnection:
    """A connection, used in `async with`. Raises BrokerUnavailable where there is none to be had.

    It does not come back by itself, as the driver would have it: what the driver had not sent would come behind what
    was lost, and out of order.
    """

    def __init__(self, url: str) -> None:
        self._servers = [each.strip() for each in url.split(",")]
        self.lost = asyncio.Event()
        self._batches: dict[str, _Batch] = {}
        self._made = 0
        self.client = SendingClient(self._on_stored)

    async def __aenter__(self) -> Self:
        try:
            async with understood(_CONNECT):
                await self._connect()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def _connect(self) -> None:
        await self.client.connect(
            self._servers,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # 0 would be without end
            reconnect_time_wait=0,
            connect_timeout=_CONNECT_EACH,
            ping_interval=_PING,
            closed_cb=self._on_closed,
            error_cb=_ignored,
        )
        await self.client.subscribe(f"{self.client.inbox}.*.*", cb=self._on_answer)

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def is_usable(self) -> bool:
        return self.client.is_connected and not self.lost.is_set()

    async def stored(self, subjects: str, messages: Sequence[Message]) -> dict[int, dict[str, Any]]:
        """Send all in order, wait until JetStream has answered all, and give the errors by the messages' places.

        Their subjects are `{subjects}.{partition}.{type}`.

        Raises:
            BrokerUnavailable: some have no answer.
        """
        self._made += 1
        name = str(self._made)
        batch = self._batches[name] = _Batch(len(messages))
        try:
            async with understood():
                for first in range(0, len(messages), _SENT_TOGETHER):
                    some = enumerate(messages[first : first + _SENT_TOGETHER], first)
                    replies = f"{self.client.inbox}.{name}"
                    await self.client.send(
                        b"".join(frame(subjects, f"{replies}.{place}", each) for place, each in some)
                    )
                    await asyncio.sleep(0)  # the driver's task writes it: the server begins while the rest is made
                await first_to_end(batch.answered.wait(), self.lost.wait())
        finally:
            del self._batches[name]
        if not batch.answered.is_set():
            raise BrokerUnavailable("the connection to NATS ended")
        return batch.errors

    async def aclose(self) -> None:
        self.lost.set()
        with suppress(Exception):  # it may be lost already: then there is nothing to close
            async with asyncio.timeout(_CLOSE):
                await self.client.close()

    async def _on_closed(self) -> None:
        self.lost.set()

    def _on_stored(self, name: str, count: int) -> None:
        batch = self._batches.get(name)
        if batch is not None:
            batch.count(count)

    async def _on_answer(self, answer: Msg) -> None:
        _, name, place = answer.subject.rsplit(".", 2)
        batch = self._batches.get(name)
        if batch is not None:
            batch.take(int(place), answer)


class _Batch:
    """What is known of messages sent together."""

    def __init__(self, left: int) -> None:
        self._left = left
        self.errors: dict[int, dict[str, Any]] = {}
        self.answered = asyncio.Event()

    def take(self, place: int, answer: Msg) -> None:
        if not answer.data:  # nobody listens on the subject: there is no stream
            self.errors[place] = {"code": 503, "description": "no stream stores it"}
        elif b'"error"' in answer.data:
            self.errors[place] = orjson.loads(answer.data)["error"]
        self.count(1)

    def count(self, answers: int) -> None:
        self._left -= answers
        if not self._left:
            self.answered.set()


@asynccontextmanager
async def understood(patience: float | None = PATIENCE) -> AsyncIterator[None]:
    """Tell every failure of the broker or its driver as BrokerUnavailable, also silence for longer than `patience` (seconds)."""
    try:
        async with asyncio.timeout(patience):
            yield
    except TimeoutError as error:
        raise BrokerUnavailable("NATS gave no answer in time") from error
    except (nats.errors.Error, OSError, EOFError) as error:
        raise BrokerUnavailable(f"NATS: {type(error).__name__}: {error}") from error


async def _ignored(_: Exception) -> None:
    """Whoever uses the connection is told: nothing of it is worth a line of its own."""
