"""Pulling one partition's messages from JetStream."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import unquote

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from portico.kit.messaging.brokers.base import BrokerUnavailable, Message
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher

ACK_WAIT = 5.0
"""Seconds until a message goes to another consumer, unless its own says that it is still at it."""

_BATCH = 100  # messages that one request asks for, one after the other
_EXPIRES = 30.0  # seconds that a request stands
_HEARTBEAT = 5.0  # seconds between two signs that it still stands
_SILENCE = 2.5 * _HEARTBEAT  # after which the server is taken for lost
_REQUEST = orjson.dumps(
    {"batch": _BATCH, "expires": int(_EXPIRES * 1e9), "idle_heartbeat": int(_HEARTBEAT * 1e9)}  # nanoseconds
)

# What the server says instead of a message.
_ALIVE = "100"
_REQUEST_OVER = frozenset({"404", "408"})


class Pull:
    """Delivers what one durable consumer has, a message at a time, until cancelled.

    What it has in hand at the end is given back at once where another process waits for it, else after ACK_WAIT.

    The driver's own `fetch` waits for a batch to be full, which a consumer with one message in hand never is.

    Args:
        client: the connection.
        stream: where the messages are.
        consumer: the durable consumer's name.
        wanted: the types to deliver; others are acknowledged unseen.
        lines: delivers, so that the partitions of a group share its concurrency.
    """

    def __init__(
        self, client: Client, stream: str, consumer: str, wanted: Collection[str], lines: KeyedDispatcher
    ) -> None:
        self._client = client
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._wanted = wanted
        self._lines = lines

    async def run(self) -> None:
        inbox = self._client.new_inbox()
        coming = await self._client.subscribe(inbox)
        while True:
            await self._client.publish(self._next, _REQUEST, reply=inbox)
            left = _BATCH
            while left:
                came = await coming.next_msg(_SILENCE)
                status = (came.headers or {}).get("Status")
                if status is None:
                    left -= 1
                    await self._handle(came, coming)
                elif status in _REQUEST_OVER:
                    break
                elif status != _ALIVE:
                    raise BrokerUnavailable(f"NATS: {status} {(came.headers or {}).get('Description', '')}")

    async def _handle(self, came: Msg, coming: Subscription) -> None:
        message = loaded(came)
        if message.type in self._wanted:
            await self._until_taken(message, came.reply, coming)
        await self._client.publish(came.reply, b"+ACK")

    async def _until_taken(self, message: Message, reply: str, coming: Subscription) -> None:
        taking = asyncio.create_task(self._lines.until_taken(message))
        try:
            while not (await asyncio.wait({taking}, timeout=ACK_WAIT / 3))[0]:
                await self._client.publish(reply, b"+WPI")  # work in progress: it is not to come again yet
            taking.result()
        except BaseException:
            taking.cancel()
            await asyncio.wait({taking})
            with suppress(nats.errors.Error):  # without it the message comes again a little later
                await coming.unsubscribe()  # or what is given back would come here again
                await self._client.publish(reply, b"-NAK")
            raise


def loaded(came: Msg) -> Message:
    """The message of one that came; `{system}.events.{partition}.{type}` is its subject."""
    headers = came.headers or {}
    return Message(
        id=unquote(headers.get("Id", "")),
        type=came.subject.split(".", 3)[-1],
        key=unquote(headers.get("Key", "")),
        body=came.data,
    )
