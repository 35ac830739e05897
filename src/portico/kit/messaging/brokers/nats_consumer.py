"""Pull consumer for one partition of a JetStream stream."""

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
"""Seconds until an unacknowledged message goes to another consumer, unless its consumer reports progress."""

_BATCH = 100  # messages per pull request, delivered one at a time
_EXPIRES = 30.0  # seconds until a pull request expires
_HEARTBEAT = 5.0  # seconds between heartbeats of a pull request
_HEARTBEAT_TIMEOUT = 2.5 * _HEARTBEAT  # seconds without a heartbeat after which the connection counts as lost
_REQUEST = orjson.dumps(
    {"batch": _BATCH, "expires": int(_EXPIRES * 1e9), "idle_heartbeat": int(_HEARTBEAT * 1e9)}  # nanoseconds
)

# Status codes that the server sends instead of a message.
_ALIVE = "100"
_REQUEST_OVER = frozenset({"404", "408"})


class PullConsumer:
    """Delivers the messages of one durable consumer, one at a time, until cancelled.

    When it ends, it returns its unacknowledged message to the server. Another process receives that message at once, or
    after ACK_WAIT. The driver's `fetch` is not used: it waits for a full batch, but only one message is sent at a time.

    Args:
        client: the connection.
        stream: name of the stream.
        consumer: name of the durable consumer.
        types: types to deliver; others are acknowledged without delivery.
        dispatcher: dispatcher whose concurrency the group's partitions share.
    """

    def __init__(
        self, client: Client, stream: str, consumer: str, types: Collection[str], dispatcher: KeyedDispatcher
    ) -> None:
        self._client = client
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._types = types
        self._dispatcher = dispatcher

    async def run(self) -> None:
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        while True:
            await self._client.publish(self._next, _REQUEST, reply=inbox)
            left = _BATCH
            while left:
                received = await subscription.next_msg(_HEARTBEAT_TIMEOUT)
                status = (received.headers or {}).get("Status")
                if status is None:
                    left -= 1
                    await self._handle(received, subscription)
                elif status in _REQUEST_OVER:
                    break
                elif status != _ALIVE:
                    raise BrokerUnavailable(f"NATS: {status} {(received.headers or {}).get('Description', '')}")

    async def _handle(self, received: Msg, subscription: Subscription) -> None:
        message = to_message(received)
        if message.type in self._types:
            await self._deliver(message, received.reply, subscription)
        await self._client.publish(received.reply, b"+ACK")

    async def _deliver(self, message: Message, reply: str, subscription: Subscription) -> None:
        taking = asyncio.create_task(self._dispatcher.deliver_until_handled(message))
        try:
            while not (await asyncio.wait({taking}, timeout=ACK_WAIT / 3))[0]:
                await self._client.publish(reply, b"+WPI")  # work in progress: extends the acknowledgement deadline
            taking.result()
        except BaseException:
            taking.cancel()
            await asyncio.wait({taking})
            with suppress(nats.errors.Error):  # otherwise the message is redelivered after ACK_WAIT
                await subscription.unsubscribe()  # otherwise the returned message would be delivered here again
                await self._client.publish(reply, b"-NAK")
            raise


def to_message(received: Msg) -> Message:
    """Return the message of a delivery whose subject is `{system}.events.{partition}.{type}`."""
    headers = received.headers or {}
    return Message(
        id=unquote(headers.get("Id", "")),
        type=received.subject.split(".", 3)[-1],
        key=unquote(headers.get("Key", "")),
        body=received.data,
    )
