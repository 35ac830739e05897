from collections.abc import Sequence
from itertools import pairwise

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.kit.foundation.request_framing import HeadFault, HeadRejected, RequestReader

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nContent-Length: 8\r\n\r\n\r\n\r\n\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
MESSAGES = {
    GET: b"",
    POST: b"\r\n\r\n\r\n\r\n",
    CHUNKED + b"0\r\n\r\n": b"",
    CHUNKED + b"6\r\n\r\n\r\n\r\n\r\n0;a=b\r\n\r\n": b"\r\n\r\n\r\n",
    CHUNKED + b"3\r\nabc\r\n1\r\n\r\r\n0\r\nX-Note: a\r\n\r\n": b"abc\r",
}


class Sink:
    """Parses what a reader gives it, and records heads and bodies."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.reader = RequestReader(self, max_head=1024)
        self.parser = httptools.HttpRequestParser(self)

    def check_request_line(self, line: bytes) -> None:
        if not line.endswith(b" HTTP/1.1\r\n"):
            raise HeadRejected(HeadFault.MALFORMED)

    def receive_head(self, head: bytes, *, is_last: bool) -> None:
        self.heads.append(head)
        self.bodies.append(b"")
        self.length: int | None = None
        self.parser.feed_data(head)

    def receive_body(self, data: memoryview) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"Content-Length":
            self.length = int(value)

    def on_headers_complete(self) -> None:
        self.reader.begin_body(self.length)

    def on_body(self, body: bytes) -> None:
        self.reader.note_data()
        self.bodies[-1] += body

    def on_message_complete(self) -> None:
        self.reader.end_message()


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


@given(st.lists(st.sampled_from(sorted(MESSAGES)), min_size=1, max_size=6), st.lists(st.integers(0, 1000), max_size=20))
def test_heads_and_bodies_are_the_same_in_any_segments(messages: list[bytes], cuts: list[int]) -> None:
    sink = Sink()

    for segment in split(b"\r\n".join(messages), cuts):
        sink.reader.feed(segment)

    assert sink.heads == [message[: message.index(b"\r\n\r\n") + 4] for message in messages]
    assert sink.bodies == [MESSAGES[message] for message in messages]


@pytest.mark.parametrize("part", [b"GET / HTTP/2.0\r\n", b"GET / HTTP/1.1\r\nHost: a\n", b"HELLO\n"])
def test_a_head_that_cannot_become_valid_is_rejected_before_it_is_complete(part: bytes) -> None:
    with pytest.raises(HeadRejected):
        Sink().reader.feed(part)


def test_nothing_is_read_after_a_stop() -> None:
    sink = Sink()
    sink.reader.feed(b"GET / HTT")

    sink.reader.stop()
    sink.reader.feed(GET)

    assert sink.heads == []
