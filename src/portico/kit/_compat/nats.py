"""Private APIs of nats-py, written for nats-py 2.16.

One fast path, `nats_publish`. nats-py's `publish` and its callback for each confirmation take more time than all else that a
relay does for a message (docs/decisions/0019). Import this module only if the fast path is enabled.
"""

import re
from collections import Counter
from collections.abc import Callable

from nats.aio.client import Client

from portico.kit._compat import Library, require

with Library("nats-py", "2.16").shape("nats_publish"):
    from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

    require(Client, "_ps", "_send_command", "_flush_pending")
    require(Parser, "parse", "reset")

OnStored = Callable[[str, int], None]
"""Called with the name of a batch and the number of its messages stored since the last call."""


class BatchingClient(Client):
    """The driver's client, extended to send prepared frames and count JetStream's confirmations.

    Responses arrive on `{inbox}.{batch}.{place}`. Plain confirmations are counted. Other responses (an error, no
    stream) go through the driver to the subscriber of the subject.
    """

    def __init__(self, on_stored: OnStored) -> None:
        super().__init__()
        self.inbox = self.new_inbox()
        self._ps = _CountingParser(self, self.inbox.encode(), on_stored)

    async def send(self, frames: bytes) -> None:
        """Append frames to the driver's write buffer, without waiting for the socket."""
        await self._send_command(frames)
        await self._flush_pending()


class _CountingParser(Parser):
    """The driver's parser, extended to count a run of confirmations at once."""

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
            data = self._count_confirmations(bytes(self.buf) + data)
            self.buf.clear()
            if data.startswith(self._first) and not self._whole.match(data):
                self.buf.extend(data)  # the rest of this confirmation arrives with the next data
                return
        await super().parse(data)

    def _count_confirmations(self, data: bytes) -> bytes:
        """Count the confirmations at the start of the data and return the rest."""
        found = self._confirmations.match(data)
        if found is None:
            return data
        for name, count in Counter(self._batch.findall(found[0])).items():
            self._on_stored(name.decode(), count)
        return data[found.end() :]
