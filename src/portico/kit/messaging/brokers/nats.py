"""Broker on NATS JetStream: one stream, and one durable consumer per group and partition."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from portico.kit.messaging.brokers.base import (
    MAX_MESSAGE,
    PARTITIONS,
    BrokerUnavailable,
    Deliver,
    Message,
    OnMessage,
)
from portico.kit.messaging.brokers.batches import in_batches, messages_to_send, too_large
from portico.kit.messaging.brokers.keyed_dispatcher import (
    KeyedDispatcher,
    consume_until_cancelled,
    run_until_first_ends,
)
from portico.kit.messaging.brokers.nats_connection import NatsConnection, translate_errors
from portico.kit.messaging.brokers.nats_consumer import ACK_WAIT, PullConsumer, to_message

_IN_FLIGHT = 1000  # messages sent before waiting for confirmation
_BYTES_IN_FLIGHT = 4 << 20  # maximum size of their bodies, unless one message is larger
_MAX_BUFFERED = 10_000  # maximum number of buffered messages of a subscriber; the newest are dropped beyond it
_MAX_BUFFERED_BYTES = 8 << 20  # maximum size of their bodies
_HEADER_SIZE = 512  # bytes of the server's payload limit reserved for the headers of a message
_TOO_LARGE = 10054  # JetStream error code: the message exceeds the stream's limit


class NatsBroker:
    """Events of one system in JetStream.

    The stream `{system}-events` has the subjects `{system}.events.{partition}.{type}` and keeps a message until every
    group has acknowledged it. Each consumer `{group}-{partition}` has at most one unacknowledged message, which keeps
    the order with any number of processes. The consumer's description stores the types that a group declared, because
    servers before 2.10 filter by one subject only. Messages of other types are acknowledged without delivery.
    Subscribers subscribe to the subjects directly, without the stream.

    An existing stream is not changed, so you can create it beforehand with the replicas and limits you need.

    Args:
        url: `nats://` or `tls://`, several separated by commas.
        system: name of the system, the prefix of the subjects.
        size_limit: maximum size (bytes) of a message body. The server's `max_payload` applies as well.
    """

    def __init__(self, url: str, system: str, *, size_limit: int = MAX_MESSAGE) -> None:
        self._url = url
        self._stream = f"{system}-events"
        self._subjects = f"{system}.events"
        self._size_limit = size_limit
        self._connection: NatsConnection | None = None
        self._connecting = asyncio.Lock()

    async def declare(self, group: str, types: Collection[str]) -> None:
        async with self._request() as stream:
            for partition in range(PARTITIONS):
                await stream.add_consumer(
                    self._stream,
                    ConsumerConfig(
                        durable_name=f"{group}-{partition}",
                        description=" ".join(sorted(types)),
                        filter_subject=f"{self._subjects}.{partition}.>",
                        deliver_policy=DeliverPolicy.NEW,
                        ack_policy=AckPolicy.EXPLICIT,
                        ack_wait=ACK_WAIT,
                        max_ack_pending=1,
                    ),
                )

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        connection = await self._ready()
        limit = min(self._size_limit, connection.client.max_payload - _HEADER_SIZE)
        refused = too_large(messages, limit)
        for some in in_batches(messages_to_send(messages, refused), max_count=_IN_FLIGHT, max_bytes=_BYTES_IN_FLIGHT):
            refused |= await self._publish(some)
        return refused

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        await consume_until_cancelled(group, partial(self._consume, group, deliver, concurrency))

    async def subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        await consume_until_cancelled("broadcasts", partial(self._subscribe, types, handler))

    async def check(self) -> None:
        async with self._request() as stream:
            await stream.stream_info(self._stream)

    async def backlog(self, group: str) -> int:
        """Return the number of unacknowledged messages, including messages of other types that will be skipped."""
        async with self._request() as stream:
            found = [await stream.consumer_info(self._stream, f"{group}-{number}") for number in range(PARTITIONS)]
        return sum((each.num_pending or 0) + (each.num_ack_pending or 0) for each in found)

    async def aclose(self) -> None:
        await self._drop(self._connection)

    async def _publish(self, messages: Sequence[Message]) -> dict[str, str]:
        """Send all messages, then wait until all are stored.

        A message without a response may be lost. The connection is closed at the first loss, so that no later message
        is stored before it. If messages are published again, their first copies are therefore still in order.
        """
        connection = await self._ready()
        try:
            errors = await connection.publish(self._subjects, messages)
            return {messages[place].id: _rejection_reason(error) for place, error in errors.items()}
        except BaseException:
            await self._drop(connection)
            raise

    async def _consume(self, group: str, deliver: Deliver, concurrency: int) -> None:
        async with NatsConnection(self._url) as connection, translate_errors(None):
            found = await connection.client.jetstream().consumer_info(self._stream, f"{group}-0")
            types = frozenset((found.config.description or "").split())
            dispatcher = KeyedDispatcher(group, deliver, concurrency)
            consumers = [f"{group}-{partition}" for partition in range(PARTITIONS)]
            pulls = [PullConsumer(connection.client, self._stream, each, types, dispatcher) for each in consumers]
            await run_until_first_ends(*(pull.run() for pull in pulls), connection.lost.wait())
            raise BrokerUnavailable("the connection to NATS ended")

    async def _subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        async def take(received: Msg) -> None:
            handler(to_message(received))

        async with NatsConnection(self._url) as connection, translate_errors(None):
            for each in sorted(types):
                await connection.client.subscribe(
                    f"{self._subjects}.*.{each}",
                    cb=take,
                    pending_msgs_limit=_MAX_BUFFERED,
                    pending_bytes_limit=_MAX_BUFFERED_BYTES,
                )
            await connection.lost.wait()
            raise BrokerUnavailable("the connection to NATS ended")

    @asynccontextmanager
    async def _request(self) -> AsyncIterator[JetStreamContext]:
        connection = await self._ready()
        try:
            async with translate_errors():
                yield connection.client.jetstream()
        except BrokerUnavailable:
            if not connection.is_usable:
                await self._drop(connection)
            raise

    async def _ready(self) -> NatsConnection:
        """Return the publishing connection. Reconnects and creates the stream when necessary."""
        async with self._connecting:
            if self._connection is not None and self._connection.is_usable:
                return self._connection
            await self._drop(self._connection)
            connection = await NatsConnection(self._url).__aenter__()
            try:
                async with translate_errors():
                    await self._make_stream(connection.client.jetstream())
            except BaseException:
                await connection.aclose()
                raise
            self._connection = connection
            return connection

    async def _make_stream(self, streams: JetStreamContext) -> None:
        try:
            await streams.stream_info(self._stream)
        except NotFoundError:
            config = StreamConfig(
                name=self._stream, subjects=[f"{self._subjects}.>"], retention=RetentionPolicy.INTEREST
            )
            try:
                await streams.add_stream(config)
            except BadRequestError:  # another process created it first
                await streams.stream_info(self._stream)

    async def _drop(self, connection: NatsConnection | None) -> None:
        if connection is not None:
            if connection is self._connection:
                self._connection = None
            await connection.aclose()


def _rejection_reason(error: Mapping[str, Any]) -> str:
    """Return why JetStream permanently rejects a message.

    Raises:
        BrokerUnavailable: JetStream may accept it later.
    """
    if error.get("err_code") != _TOO_LARGE:
        raise BrokerUnavailable(f"NATS: {error.get('description')}")
    return "larger than the stream's limit"
