"""Messages in NATS JetStream: one stream, and for each group a durable consumer a partition."""

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
    Hear,
    Message,
)
from portico.kit.messaging.brokers.batches import in_batches, to_be_sent, too_large
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher, first_to_end, keep_consuming
from portico.kit.messaging.brokers.nats_connection import NatsConnection, understood
from portico.kit.messaging.brokers.nats_pulling import ACK_WAIT, Pull, loaded

_IN_FLIGHT = 1000  # messages that are sent together, and then seen stored
_BYTES_IN_FLIGHT = 4 << 20  # likewise, unless one is larger
_UNHEARD = 10_000  # messages in memory that a listener has not heard yet; beyond it the newest are dropped
_BYTES_UNHEARD = 8 << 20  # and their bodies
_HEAD = 512  # bytes that a message's own head takes of what the server lets through, besides its id and key
_TOO_LARGE = 10054  # JetStream's code for a message beyond the stream's limit


class NatsBroker:
    """The events of one system in JetStream.

    A stream `{system}-events` of the subjects `{system}.events.{partition}.{type}`, which keeps a message until every
    group has it; consumers `{group}-{partition}`, each with at most one message that is not acknowledged: in order,
    however many processes pull. The types that a group wants stand in its consumers' descriptions, since servers before
    2.10 filter by one subject only; what it does not want is acknowledged unseen. Who listens subscribes to the
    subjects themselves, past the stream.

    A stream that is there already is used as it is, so that it can be given replicas and limits beforehand.

    Args:
        url: `nats://` or `tls://`, several with commas between.
        system: whose events they are.
        size_limit: bytes of a body, refused beyond it; the server's `max_payload` holds too.
    """

    def __init__(self, url: str, system: str, *, size_limit: int = MAX_MESSAGE) -> None:
        self._url = url
        self._stream = f"{system}-events"
        self._subjects = f"{system}.events"
        self._size_limit = size_limit
        self._connection: NatsConnection | None = None
        self._connecting = asyncio.Lock()

    async def declare(self, group: str, types: Collection[str]) -> None:
        async with self._asking() as stream:
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
        limit = min(self._size_limit, connection.client.max_payload - _HEAD)
        refused = too_large(messages, limit)
        for some in in_batches(to_be_sent(messages, refused), most=_IN_FLIGHT, most_bytes=_BYTES_IN_FLIGHT):
            refused |= await self._publish(some)
        return refused

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        await keep_consuming(group, partial(self._consume, group, deliver, concurrency))

    async def listen(self, types: Collection[str], hear: Hear) -> None:
        await keep_consuming("listeners", partial(self._listen, types, hear))

    async def check(self) -> None:
        async with self._asking() as stream:
            await stream.stream_info(self._stream)

    async def waiting(self, group: str) -> int:
        """As the protocol says, with what the group does not want and has not passed yet."""
        async with self._asking() as stream:
            found = [await stream.consumer_info(self._stream, f"{group}-{number}") for number in range(PARTITIONS)]
        return sum((each.num_pending or 0) + (each.num_ack_pending or 0) for each in found)

    async def aclose(self) -> None:
        await self._drop(self._connection)

    async def _publish(self, messages: Sequence[Message]) -> dict[str, str]:
        """Send all, then see all stored.

        What was sent and has no answer may be lost, but nothing behind the first that is lost is stored: the connection
        is given up. So the first copies of all messages are in order, however often they are published.
        """
        connection = await self._ready()
        try:
            errors = await connection.stored(self._subjects, messages)
            return {messages[place].id: _refusal(error) for place, error in errors.items()}
        except BaseException:
            await self._drop(connection)
            raise

    async def _consume(self, group: str, deliver: Deliver, concurrency: int) -> None:
        async with NatsConnection(self._url) as connection, understood(None):
            found = await connection.client.jetstream().consumer_info(self._stream, f"{group}-0")
            wanted = frozenset((found.config.description or "").split())
            lines = KeyedDispatcher(group, deliver, concurrency)
            consumers = [f"{group}-{partition}" for partition in range(PARTITIONS)]
            pulls = [Pull(connection.client, self._stream, each, wanted, lines) for each in consumers]
            await first_to_end(*(pull.run() for pull in pulls), connection.lost.wait())
            raise BrokerUnavailable("the connection to NATS ended")

    async def _listen(self, types: Collection[str], hear: Hear) -> None:
        async def take(came: Msg) -> None:
            hear(loaded(came))

        async with NatsConnection(self._url) as connection, understood(None):
            for each in sorted(types):
                await connection.client.subscribe(
                    f"{self._subjects}.*.{each}",
                    cb=take,
                    pending_msgs_limit=_UNHEARD,
                    pending_bytes_limit=_BYTES_UNHEARD,
                )
            await connection.lost.wait()
            raise BrokerUnavailable("the connection to NATS ended")

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[JetStreamContext]:
        connection = await self._ready()
        try:
            async with understood():
                yield connection.client.jetstream()
        except BrokerUnavailable:
            if not connection.is_usable:
                await self._drop(connection)
            raise

    async def _ready(self) -> NatsConnection:
        """The connection that publishes, made anew where it was lost, and the stream with it."""
        async with self._connecting:
            if self._connection is not None and self._connection.is_usable:
                return self._connection
            await self._drop(self._connection)
            connection = await NatsConnection(self._url).__aenter__()
            try:
                async with understood():
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
            except BadRequestError:  # another process was first
                await streams.stream_info(self._stream)

    async def _drop(self, connection: NatsConnection | None) -> None:
        if connection is not None:
            if connection is self._connection:
                self._connection = None
            await connection.aclose()


def _refusal(error: Mapping[str, Any]) -> str:
    """Why JetStream refuses one message for good. Raises BrokerUnavailable where it may take it another time."""
    if error.get("err_code") != _TOO_LARGE:
        raise BrokerUnavailable(f"NATS: {error.get('description')}")
    return "larger than the stream's limit"
