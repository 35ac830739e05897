"""One connection to NATS, whose end is always told as one kind of error."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from portico.kit.messaging.brokers.base import BrokerUnavailable
from portico.kit.messaging.brokers.lines import first_to_end

PATIENCE = 10.0  # seconds for an answer
_CONNECT = 10.0  # seconds, of which each server has
_CONNECT_EACH = 2
_CLOSE = 1.0  # seconds
_PING = 5  # seconds between two pings; the second that is not answered ends the connection

Outgoing = tuple[str, bytes, dict[str, str]]
"""Subject, body, headers."""


class NatsConnection:
    """A connection, used in `async with`. Raises BrokerUnavailable where there is none to be had.

    It does not come back by itself, as the driver would have it: what the driver had not sent would come behind what
    was lost, and out of order.
    """

    def __init__(self, url: str) -> None:
        self._servers = [each.strip() for each in url.split(",")]
        self.client = Client()
        self.lost = asyncio.Event()
        self._batches: dict[str, _Batch] = {}
        self._inbox = ""
        self._made = 0

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
        self._inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self._inbox}.*.*", cb=self._on_answer)

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def is_usable(self) -> bool:
        return self.client.is_connected and not self.lost.is_set()

    async def stored(self, messages: Sequence[Outgoing]) -> dict[int, dict[str, Any]]:
        """Send all in order, wait until JetStream has answered all, and give the errors by the messages' places.

        Raises:
            BrokerUnavailable: some have no answer.
        """
        self._made += 1
        name = str(self._made)
        batch = self._batches[name] = _Batch(len(messages))
        try:
            async with understood():
                for place, (subject, body, headers) in enumerate(messages):
                    reply = f"{self._inbox}.{name}.{place}"
                    await self.client.publish(subject, body, reply=reply, headers=headers)
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

    async def _on_answer(self, answer: Msg) -> None:
        _, name, place = answer.subject.rsplit(".", 2)
        batch = self._batches.get(name)
        if batch is not None:
            batch.answer(int(place), answer)


class _Batch:
    """What is known of messages sent together."""

    def __init__(self, left: int) -> None:
        self._left = left
        self.errors: dict[int, dict[str, Any]] = {}
        self.answered = asyncio.Event()

    def answer(self, place: int, answer: Msg) -> None:
        if not answer.data:  # nobody listens on the subject: there is no stream
            self.errors[place] = {"code": 503, "description": "no stream stores it"}
        elif b'"error"' in answer.data:
            self.errors[place] = orjson.loads(answer.data)["error"]
        self._left -= 1
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
