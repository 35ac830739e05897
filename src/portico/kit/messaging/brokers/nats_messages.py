"""Messages as NATS transports them: subject, headers and frame."""

from functools import lru_cache
from urllib.parse import quote

from nats.errors import BadSubjectError

from portico.kit.messaging.brokers.base import Message, partition_of

_SUBJECTS = 1000  # cached subjects: event types of one system, times partitions


def headers_of(message: Message) -> dict[str, str]:
    """Return the id and key of a message as headers. They are quoted because they may contain any character."""
    return {"Id": quote(message.id), "Key": quote(message.key)}


def subject_of(subjects: str, message: Message) -> str:
    """Return the subject of a message, `{subjects}.{partition}.{type}`. Raises BadSubjectError."""
    return _subject(subjects, partition_of(message.key), message.type)


def encode(subjects: str, reply: str, message: Message) -> bytes:
    """Return a message with its reply subject as HPUB (NATS client protocol). Raises BadSubjectError."""
    head = f"NATS/1.0\r\nId: {quote(message.id)}\r\nKey: {quote(message.key)}\r\n\r\n"
    size = len(head)  # also the size in bytes, because quoted text is ASCII
    command = f"HPUB {subject_of(subjects, message)} {reply} {size} {size + len(message.body)}\r\n{head}"
    return b"%b%b\r\n" % (command.encode(), message.body)


@lru_cache(_SUBJECTS)
def _subject(subjects: str, partition: int, event_type: str) -> str:
    if not event_type or event_type.split() != [event_type]:
        raise BadSubjectError
    return f"{subjects}.{partition}.{event_type}"
