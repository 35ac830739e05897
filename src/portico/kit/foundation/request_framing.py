"""Splitting of what an HTTP/1.1 connection receives into heads and bodies, so that a server can check each before it parses it.

A parser that gets whole segments does not say where a request begins: a request could follow another one unchecked.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

HEAD_END: Final = b"\r\n\r\n"
"""Ends a head, and also a chunked body."""

MAX_PIECE: Final = 16_384
"""Bytes of a chunked body that are parsed at once. What follows its data is counted from the next piece on."""

_NOT_EMPTY: Final = re.compile(rb"[^\r\n]")


class HeadFault(Enum):
    """Why a connection is closed before its request is complete."""

    MALFORMED = "malformed"
    TOO_LONG = "too long"
    TOO_SLOW = "too slow"
    OTHER_VERSION = "another version of HTTP"
    UNKNOWN_CODING = "an unknown transfer coding"
    OTHER_WEBSOCKET_VERSION = "another version of WebSocket"


class HeadRejected(Exception):
    """A request is rejected before its app sees it.

    Args:
        fault: What is wrong.
        reason: Details for the caller, as the end of a sentence.
    """

    def __init__(self, fault: HeadFault, reason: str = "it is not HTTP/1.1") -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RequestBytes:
    """A complete head, checked.

    Attributes:
        head: The bytes to parse.
        is_handshake: Whether they are the handshake of a WebSocket.
    """

    head: bytes
    is_handshake: bool = False


class RequestSink(Protocol):
    """Receives heads and bodies. All methods may raise HeadRejected."""

    def check_request_line(self, line: bytes) -> None:
        """Check the request line of a head that is incomplete."""

    def receive_head(self, head: bytes, *, is_last: bool) -> None:
        """Take a complete head. `is_last` says that no data has arrived behind it."""

    def receive_body(self, data: memoryview) -> None:
        """Take a part of a body, with its framing."""


class RequestReader:
    """Splits the data of one connection. The sink's parser reports where bodies begin and end.

    Args:
        sink: Receives the heads and bodies.
        max_head: Bytes that may come in a row without being part of a body: a head, chunk extensions, trailers.

    Attributes:
        in_head: Whether a head is expected, and no body.
        follows_chunks: Whether the last body was chunked.
        is_stopped: Whether further data is ignored.
    """

    def __init__(self, sink: RequestSink, max_head: int) -> None:
        self.in_head = True
        self.follows_chunks = False
        self.is_stopped = False
        self._sink = sink
        self._max_head = max_head
        self._head = bytearray()
        self._is_line_checked = False
        self._unread: int | None = None  # bytes of the body that are to come; None if it is chunked
        self._tail = b""  # the last bytes of a chunked body
        self._since_data = 0  # bytes of a chunked body that are no data

    @property
    def has_partial_head(self) -> bool:
        return bool(self._head)

    def feed(self, data: bytes) -> None:
        """Read what the connection received. Raises HeadRejected."""
        at = 0
        while at < len(data) and not self.is_stopped:
            at = self._feed_head(data, at) if self.in_head else self._feed_body(data, at)

    def stop(self) -> None:
        """Ignore all further data."""
        self.is_stopped = True
        self._head.clear()

    # What the parser reports

    def begin_body(self, length: int | None) -> None:
        """A head is complete, and a body of this length follows; None is chunked, or empty."""
        self.in_head = False
        self._unread = length
        self._tail = b""
        self._since_data = 0

    def note_data(self) -> None:
        """Data of a body was parsed."""
        self._since_data = 0

    def end_message(self) -> None:
        """The body is complete."""
        self.in_head = True

    # Heads

    def _feed_head(self, data: bytes, at: int) -> int:
        """Take a head, or a part of it, from `data`. Return where the rest begins."""
        if not self._head:  # empty lines before a request are ignored (RFC 9112 section 2.2)
            at = len(data) if (found := _NOT_EMPTY.search(data, at)) is None else found.start()
        end = data.find(HEAD_END, at) if not self._head else -1
        if end >= 0:  # the usual case: the whole head at once
            head, rest = data[at : end + len(HEAD_END)], end + len(HEAD_END)
        else:
            before = len(self._head)
            searched = max(before - len(HEAD_END) + 1, 0)
            self._head += data[at:]
            end = self._head.find(HEAD_END, searched)
            if end < 0:
                self._check_part(searched)
                return len(data)
            head, rest = bytes(self._head[: end + len(HEAD_END)]), at + end + len(HEAD_END) - before
        self._head.clear()
        self._is_line_checked = False
        if len(head) > self._max_head:
            raise HeadRejected(HeadFault.TOO_LONG)
        self._sink.receive_head(head, is_last=rest == len(data))
        self.follows_chunks = False
        return rest

    def _check_part(self, searched: int) -> None:
        """Reject an incomplete head as soon as it cannot become a valid one."""
        if len(self._head) > self._max_head:
            raise HeadRejected(HeadFault.TOO_LONG)
        line_end = self._head.find(b"\n", searched)
        if line_end >= 0 and not self._is_line_checked:
            self._sink.check_request_line(bytes(self._head[: line_end + 1]))
            self._is_line_checked = True
        while line_end >= 0:
            if self._head[line_end - 1 : line_end] != b"\r":
                raise HeadRejected(HeadFault.MALFORMED)
            line_end = self._head.find(b"\n", line_end + 1)

    # Bodies

    def _feed_body(self, data: bytes, at: int) -> int:
        """Take a body, or a part of it, from `data`. Return where the rest begins."""
        if self._unread is not None:
            end = min(at + self._unread, len(data))
            self._unread -= end - at
            self._sink.receive_body(memoryview(data)[at:end])
            return end
        end = self._end_of_chunks(data, at)
        self._since_data += end - at
        self._sink.receive_body(memoryview(data)[at:end])
        if self._since_data > self._max_head:
            raise HeadRejected(HeadFault.TOO_LONG)
        self.follows_chunks = self.in_head
        return end

    def _end_of_chunks(self, data: bytes, at: int) -> int:
        """Return where the next piece of a chunked body ends: at an empty line, because the body may end there."""
        keep = len(HEAD_END) - 1
        across = (self._tail + data[at : at + keep]).find(HEAD_END)
        if across >= 0:
            end = at + across + len(HEAD_END) - len(self._tail)
        else:
            limit = min(at + MAX_PIECE, len(data))
            found = data.find(HEAD_END, at, limit)
            end = limit if found < 0 else found + len(HEAD_END)
        self._tail = (self._tail + data[max(at, end - keep) : end])[-keep:]
        return end
