"""Heads of responses on the fast plane, compared with the rules that the ASGI plane uses."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.gateway.fast.answer import CHUNKED, ChunkReader, head_of, read_head
from portico.gateway.fast.memo import encode_headers
from portico.gateway.forwarding import GATEWAY_ONLY, client_headers
from portico.gateway.request_head import Header

VARY: Header = (b"vary", b"Origin")
FIELDS = (b"ETag", b"vary", b"Set-Cookie", b"x-frame-options", b"X-Content-Type-Options", b"referrer-policy")
NAMES = st.sampled_from([*FIELDS, *sorted(GATEWAY_ONLY - {b"connection", b"transfer-encoding", b"upgrade"})])
VALUES = st.one_of(
    st.sampled_from([b"Origin", b"nosniff", b"DENY"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1).map(str.encode),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.booleans())
def test_fields_are_filtered_as_on_the_asgi_plane(fields: list[Header], has_cors: bool) -> None:  # noqa: FBT001  given
    added = [(b"x-request-id", b"1"), *([VARY] if has_cors else [])]
    sent = [*fields, (b"content-length", b"2")]
    head = b"HTTP/1.1 200 OK\r\n" + encode_headers(sent)
    answer = read_head(head + b"\r\n{}", len(head) - 2)

    if answer is None:
        assert sum(name == b"vary" for name, _ in fields) > 1  # the ASGI plane serves it
        return
    cors = [VARY] if has_cors and not answer.varies_by_origin else []
    sent_on = answer.fields + encode_headers([(b"x-request-id", b"1"), *cors])
    lowered = [(name.lower(), value) for name, value in sent]
    assert sorted(parsed(sent_on)) == sorted(client_headers(lowered, added))
    assert head_of(200, sent) == answer
    assert answer.shape.read(head + b"\r\n{}") == (answer, len(head) + 2)


def parsed(lines: bytes) -> list[Header]:
    pairs = (line.partition(b": ") for line in lines.split(b"\r\n")[:-1])
    return [(name.lower(), value) for name, _, value in pairs]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 2",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 2",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, x-secret",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/event-stream",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\nY: b",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\rY: b",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX : a",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n X: a",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nno colon",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2",
        b"HTTP/1.1 2x0 OK\r\nContent-Length: 2",
        b"HTTP/1.1 999 Unknown\r\nContent-Length: 2",
    ],
)
def test_a_head_that_is_not_plain_is_left_to_the_asgi_plane(head: bytes) -> None:
    assert read_head(head + b"\r\n\r\n{}", len(head)) is None


class TestShapes:
    @given(st.binary(max_size=30), st.integers(0, 130), st.booleans())
    def test_a_shape_reads_a_head_as_it_was_read_first_or_not_at_all(
        self,
        inserted: bytes,
        at: int,
        replaces: bool,  # noqa: FBT001  given
    ) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nDate: now\r\nVary: Origin\r\nContent-Length: 2\r\nETag: 1\r\n"
        first = read_head(head + b"\r\n{}", len(head) - 2)
        assert first is not None
        changed = head[:at] + inserted + head[at + len(inserted) * replaces :] + b"\r\n{}"
        end = changed.find(b"\r\n\r\n")

        read = first.shape.read(changed)

        if read is not None:
            assert read == (read_head(changed, end), end + 4)

    @pytest.mark.parametrize(
        "changed",
        [
            b"HTTP/1.1 200 OK\r\nContent-Type:  text/event-stream\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: +2\r\nConnection: keep-alive\r\n\r\n",
            b"HTTP/1.1 204 None\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n",
            b"HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: keep-alive\r\n",
        ],
    )
    def test_a_shape_leaves_a_head_that_is_not_plain(self, changed: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: keep-alive"
        first = read_head(head + b"\r\n\r\n", len(head))
        assert first is not None
        assert first.shape.read(head + b"\r\n\r\n") is not None
        assert first.shape.read(changed) is None


@pytest.mark.parametrize("value", [b"a\r\nX-Other: b", b"a\nb", b"a\rb", b"a\x00b", b"\xe9"])
def test_a_field_of_an_application_cannot_add_lines(value: bytes) -> None:
    assert head_of(200, [(b"content-length", b"0"), (b"x", value)]) is None


def test_a_204_and_a_304_have_no_body() -> None:
    lengths = [answer.length for status in (204, 304) if (answer := head_of(status, [])) is not None]

    assert lengths == [0, 0]


class TestChunks:
    def test_a_head_with_chunks_has_no_length(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nETag: 1"
        answer = read_head(head + b"\r\n\r\n", len(head))

        assert answer is not None
        assert answer.length == CHUNKED
        assert answer.fields.count(b"transfer-encoding: chunked\r\n") == 1
        assert answer.fields.lower().count(b"transfer-encoding") == 1

    def test_an_application_without_length_sends_chunks(self) -> None:
        answer = head_of(200, [(b"etag", b"1")])

        assert answer is not None
        assert answer.length == CHUNKED
        assert head_of(200, [(b"transfer-encoding", b"chunked")]) is None

    @given(st.lists(st.binary(min_size=1, max_size=30), max_size=5), st.integers(1, 40))
    def test_the_body_is_read_whatever_the_segments_are(self, parts: list[bytes], size: int) -> None:
        sent = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        sent += b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Trailer: 1\r\n\r\n"
        chunks = ChunkReader()
        read = [chunks.read(sent[start : start + size]) for start in range(0, len(sent), size)]

        assert b"".join(read) == b"".join(parts)
        assert (chunks.is_complete, chunks.is_followed) == (True, False)

    def test_what_follows_the_last_chunk_is_noticed(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for surplus in (b"HTTP/1.1 200 OK\r\n", b"rubbish\r\n\r\n"):
            chunks = ChunkReader()
            assert chunks.read(head + b"1\r\na\r\n0\r\n\r\n" + surplus) == b"a"
            assert chunks.is_followed

    def test_what_is_no_chunk_is_an_error(self) -> None:
        chunks = ChunkReader()
        with pytest.raises(httptools.HttpParserError):
            chunks.read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
