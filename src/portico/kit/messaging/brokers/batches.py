"""Split messages into batches that a broker accepts."""

from collections.abc import Container, Iterable, Iterator

from portico.kit.messaging.brokers.base import Message


def in_batches(messages: Iterable[Message], *, max_count: int, max_bytes: int) -> Iterator[list[Message]]:
    """Yield lists of at most `max_count` messages and `max_bytes` bytes of bodies, in order.

    A larger message gets its own list.
    """
    some: list[Message] = []
    size = 0
    for message in messages:
        if some and (len(some) == max_count or size + len(message.body) > max_bytes):
            yield some
            some, size = [], 0
        some.append(message)
        size += len(message.body)
    if some:
        yield some


def too_large(messages: Iterable[Message], limit: int) -> dict[str, str]:
    """Return the ids of messages whose body exceeds `limit` bytes, each with the reason for the rejection."""
    return {each.id: f"larger than {limit} bytes" for each in messages if len(each.body) > limit}


def messages_to_send(messages: Iterable[Message], refused: Container[str]) -> Iterator[Message]:
    """Yield messages that are not rejected and do not follow a rejected message with the same key.

    The caller publishes a rejected message again, and the messages after it with the same key.
    """
    stopped: set[str] = set()
    for each in messages:
        if each.id in refused:
            stopped.add(each.key)
        elif each.key not in stopped:
            yield each
