import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.requests import HOST, a_head

from portico.gateway.request_head import GUARDED, Fields, HeadersTooLarge, TargetTooLong, check_host, read_path
from portico.kit.foundation.problems import BadRequest


class TestPaths:
    @pytest.mark.parametrize(
        ("raw", "path"),
        [
            (b"/", "/"),
            (b"/products", "/products"),
            (b"/products/", "/products/"),
            (b"/.well-known/jwks.json", "/.well-known/jwks.json"),
            (b"/a%20b/%C3%A9", "/a b/é"),
            (b"/a;b=1/@x:y", "/a;b=1/@x:y"),
        ],
    )
    def test_a_plain_path_is_read(self, raw: bytes, path: str) -> None:
        assert read_path(a_head(path=raw)) == path

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"products",
            b"*",
            b"//products",
            b"/a//b",
            b"/a/../b",
            b"/a/./b",
            b"/..",
            b"/a/%2e%2e/b",
            b"/a/%2E./b",
            b"/a%2fb",
            b"/a%5cb",
            b"/a\\b",
            b"/a%00b",
            b"/a%0ab",
            b"/a%zz",
            b"/a%2",
            b"/a b",
            b"/a\xffb",
            b"/%ff",
            b"/%c0%af",
            b"/a#b",
            b"http://evil.example/a",
        ],
    )
    def test_an_ambiguous_path_is_refused(self, raw: bytes) -> None:
        with pytest.raises(BadRequest):
            read_path(a_head(path=raw))

    def test_a_long_target_is_refused(self) -> None:
        with pytest.raises(TargetTooLong):
            read_path(a_head(path=b"/a", query=b"x" * 8192))

    def test_a_query_with_raw_bytes_is_refused(self) -> None:
        with pytest.raises(BadRequest):
            read_path(a_head(path=b"/a", query=b"q=\xc3\xa9"))

    @given(st.binary(max_size=40))
    def test_an_accepted_path_has_no_dot_segments_or_control_characters(self, raw: bytes) -> None:
        try:
            path = read_path(a_head(path=b"/" + raw))
        except BadRequest:
            return
        segments = path[1:].split("/")
        assert not {".", ".."} & set(segments)
        assert "" not in segments[:-1]
        assert not any(ord(character) < 32 or character == "\\" for character in path)


class TestFraming:
    @pytest.mark.parametrize(
        "headers",
        [
            [(b"content-length", b"3"), (b"content-length", b"3")],
            [(b"content-length", b"3"), (b"content-length", b"4")],
            [(b"content-length", b"3, 3")],
            [(b"content-length", b"+3")],
            [(b"content-length", b"0x3")],
            [(b"content-length", b"-1")],
            [(b"content-length", b"")],
            [(b"content-length", b"9" * 30)],
            [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")],
            [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
            [(b"transfer-encoding", b"gzip, chunked")],
            [(b"transfer-encoding", b"xchunked")],
            [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
            [(b"connection", b"close, content-length")],
            [(b"connection", b"authorization")],
        ],
    )
    def test_ambiguous_framing_is_refused(self, headers: list[tuple[bytes, bytes]]) -> None:
        with pytest.raises(BadRequest):
            Fields(headers)

    def test_content_length_is_parsed(self) -> None:
        fields = Fields([(b"content-length", b"12")])

        assert (fields.content_length, fields.has_body) == (12, True)

    def test_a_chunked_body_has_no_declared_length(self) -> None:
        fields = Fields([(b"transfer-encoding", b"chunked")])

        assert (fields.content_length, fields.has_body) == (None, True)


class TestShape:
    @pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\x00b", b"a\x7fb", b"a\r\n b", b"\xff\xfe"])
    def test_control_characters_and_odd_bytes_are_refused(self, value: bytes) -> None:
        with pytest.raises(BadRequest):
            Fields([(b"x-note", value)])

    @pytest.mark.parametrize("name", [b"x note", b"x:note", b"x\tnote", b"x\x00", b"x\xff"])
    def test_an_invalid_header_name_is_refused(self, name: bytes) -> None:
        with pytest.raises(BadRequest):
            Fields([(name, b"1")])

    def test_too_many_or_too_large_headers_are_refused(self) -> None:
        with pytest.raises(HeadersTooLarge):
            Fields([(b"x-%d" % number, b"1") for number in range(101)])
        with pytest.raises(HeadersTooLarge):
            Fields([(b"x", b"1" * 40_000)])


class TestHost:
    @pytest.mark.parametrize("host", [b"a.example", b"a.example:8000", b"[::1]:80", b"127.0.0.1"])
    def test_a_valid_host_is_accepted(self, host: bytes) -> None:
        check_host(Fields([(b"host", host)]), "1.1")

    @pytest.mark.parametrize("host", [b"", b"a/b", b"user@a", b"a b", b"a:port", b"a,b", b"a?x"])
    def test_an_invalid_host_is_refused(self, host: bytes) -> None:
        with pytest.raises(BadRequest):
            check_host(Fields([(b"host", host)]), "1.1")

    def test_it_may_be_missing_in_http_1_0_only(self) -> None:
        check_host(Fields([]), "1.0")
        with pytest.raises(BadRequest):
            check_host(Fields([]), "1.1")


guarded = st.sampled_from(sorted(GUARDED)) | st.sampled_from(
    [b"x-forwarded-for", b"x-forwarded-anything", b"x-portico-user"]
)
spellings = guarded | guarded.map(lambda name: name.replace(b"-", b"_"))
tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(str.encode)


class TestPassing:
    @given(st.lists(st.tuples(spellings, st.just(b"1")), max_size=6))
    def test_guarded_fields_are_dropped_in_every_spelling(self, headers: list[tuple[bytes, bytes]]) -> None:
        try:
            fields = Fields([HOST, *headers, (b"accept", b"*/*")])
        except BadRequest:
            return
        assert fields.forwarded == [(b"accept", b"*/*")]

    @given(st.lists(tokens, min_size=1, max_size=5, unique=True))
    def test_fields_listed_in_connection_are_dropped(self, names: list[bytes]) -> None:
        headers = [(name, b"1") for name in names]
        try:
            fields = Fields([*headers, (b"connection", b", ".join(names).title())])
        except BadRequest:
            return
        assert fields.forwarded == []

    def test_other_fields_are_forwarded_in_order(self) -> None:
        headers = [(b"accept", b"a"), (b"cookie", b"x=1"), (b"accept", b"b"), (b"x-note", "é".encode())]

        assert Fields(headers).forwarded == headers
