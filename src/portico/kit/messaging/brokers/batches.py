from collections.abc import Iterable, Iterator

from portico.kit.messaging.brokers.base import Message


def in_batches(messages: Iterable[Message], *, most: int, most_bytes: int) -> Iterator[list[Message]]:
    """Lists of at most so many messages and bytes of bodies, in order; a larger message is alone in its list."""
    some: list[Message] = []
    size = 0
    for message in messages:
        if some and (len(some) == most or size + len(message.body) > most_bytes):
            yield some
            some, size = [], 0
        some.append(message)
        size += len(message.body)
    if some:
        yield some
