"""Publish many messages to RabbitMQ in one write.

aiormq's `basic_publish` takes a task, two locks and a write for each message: 110 µs, compared with 20 µs here. This
module uses the delivery tags and confirmations of the same channel (docs/decisions/0019).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiormq import Channel
from aiormq.abc import ChannelFrame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from portico.kit.messaging.brokers.base import Message, partition_of


async def send(channel: Channel, exchange: str, messages: Sequence[Message]) -> list[asyncio.Future[Any]]:
    """Write all messages in order. Return a future per message, which fails if the channel closes."""
    confirmations: list[asyncio.Future[Any]] = []
    frames: list[Any] = []
    async with channel.lock:
        for message in messages:
            channel.delivery_tag += 1
            confirmation = channel.confirmations[channel.delivery_tag] = channel.create_future()
            confirmations.append(confirmation)
            frames += _frames(channel, exchange, message)
        await channel.write_queue.put(ChannelFrame.marshall(frames=frames, channel_number=channel.number))
    return confirmations


def _frames(channel: Channel, exchange: str, message: Message) -> list[Any]:
    """Return method, header and body frames of a message, the body split by frame size (AMQP 0-9-1, section 4.2.6)."""
    properties = Basic.Properties(
        content_type="application/cloudevents+json",
        delivery_mode=2,
        message_id=message.id,
        message_type=message.type,
        headers={"key": message.key},
    )
    piece = channel.max_content_size
    return [
        Basic.Publish(exchange=exchange, routing_key=f"{message.type}.{partition_of(message.key)}"),
        ContentHeader(properties=properties, body_size=len(message.body)),
        *(ContentBody(message.body[at : at + piece]) for at in range(0, len(message.body), piece)),
    ]
