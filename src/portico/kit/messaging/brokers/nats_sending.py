"""Sending many messages to JetStream in one go, and reading its answers many at a time.

The driver's `publish` and its callback for the answer take 15 µs a message more than what is here: more than all else that
a relay has to do for it (docs/decisions/0019).
"""

import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote

from nats.aio.client import Client
from nats.errors import BadSubjectError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from portico.kit.messaging.brokers.base import Message, partition_of

OnStored = Callable[[str, int], None]
"""Takes how many messages of a batch are stored, since the last time: the batch's name, and the number."""

_SUBJECTS = 1000  # that are kept ready: types of one system, times partitions


class SendingClient(Client):
    """The driver's client, which also sends frames that are ready and counts what JetStream has stored.

    What answers them comes to `{inbox}.{batch}.{place}`. Plain confirmations are counted; anything else that comes there
    (an error, nobody there to store it) goes the driver's way, to whoever has subscribed to it.
    """

    def __init__(self, on_stored: OnStored) -> None:
        super().__init__()
        self.inbox = self.new_inbox()
        self._ps = _CountingParser(self, self.inbox.encode(), on_stored)

    async def send(self, frames: bytes) -> None:
        """Write frames behind what was written before; not waiting for the socket to take them."""
        await self._send_command(frames)
        await self._flush_pending()


def frame(subjects: str, reply: str, message: Message) -> bytes:
    """A message with what answers it, as HPUB (NATS client protocol). Raises BadSubjectError."""
    subject = _subject(subjects, partition_of(message.key), message.type)
    head = f"NATS/1.0\r\nId: {quote(message.id)}\r\nKey: {quote(message.key)}\r\n\r\n"
    size = len(head)  # in bytes too, since what is quoted is ASCII
    command = f"HPUB {subject} {reply} {size} {size + len(message.body)}\r\n{head}"
    return b"%b%b\r\n" % (command.encode(), message.body)


@lru_cache(_SUBJECTS)
def _subject(subjects: str, partition: int, event_type: str) -> str:
    if not event_type or event_type.split() != [event_type]:
        raise BadSubjectError
    return f"{subjects}.{partition}.{event_type}"


class _CountingParser(Parser):
    """The driver's parser, which takes confirmations that come one behind the other at a time."""

    def __init__(self, client: Client, inbox: bytes, on_stored: OnStored) -> None:
        super().__init__(client)
        self._first = b"MSG " + inbox
        beginning = rb"MSG " + re.escape(inbox)
        answer = rb'\{"stream": ?"[^"\r\n]*", ?"seq": ?[^{}\r\n]*\}'
        self._confirmations = re.compile(rb"(?:%b\.\d+\.\d+ \d+ +\d+\r\n%b\r\n)+" % (beginning, answer))
        self._batch = re.compile(rb"%b\.(\d+)\." % beginning)
        self._whole = re.compile(rb"[^\n]*\n[^\n]*\n")
        self._on_stored = on_stored

    async def parse(self, data: bytes = b"") -> None:
        if self.state == AWAITING_CONTROL_LINE:
            data = self._counted(bytes(self.buf) + data)
            self.buf.clear()
            if data.startswith(self._first) and not self._whole.match(data):
                self.buf.extend(data)  # the rest of this one comes with the next ones
                return
        await super().parse(data)

    def _counted(self, data: bytes) -> bytes:
        """What comes behind the confirmations at the beginning."""
        found = self._confirmations.match(data)
        if found is None:
            return data
        for name, count in Counter(self._batch.findall(found[0])).items():
            self._on_stored(name.decode(), count)
        return data[found.end() :]
