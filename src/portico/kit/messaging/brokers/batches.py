from collections.abc import Container, Iterable, Iterator

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


def too_large(messages: Iterable[Message], limit: int) -> dict[str, str]:
    """The ids of those with more than `limit` bytes of body, each with the reason for which it is refused."""
    return {each.id: f"larger than {limit} bytes" for each in messages if len(each.body) > limit}


def to_be_sent(messages: Iterable[Message], refused: Container[str]) -> Iterator[Message]:
    """Those that are neither refused nor behind one with the same key that is: it is published again, and they after it."""
    stopped: set[str] = set()
    for each in messages:
        if each.id in refused:
            stopped.add(each.key)
        elif each.key not in stopped:
            yield each
