import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.kit.foundation.proxy_protocol import (
    MAX_BLOCK,
    MAX_LINE,
    SIGNATURE,
    ProxyHeader,
    ProxyHeaderInvalid,
    read_proxy_header,
)

HTTP = b"GET / HTTP/1.1\r\n"
PORTS = (40_000).to_bytes(2, "big") + (443).to_bytes(2, "big")
FOUR = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + PORTS
SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + PORTS


def block(command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2, "big") + body


VALID = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n", ("192.0.2.7", 40_000)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n", ("2001:db8::7", 0)),
    (b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n", ("192.0.2.7", 1)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    (block(0x21, 0x11, FOUR), ("192.0.2.7", 40_000)),
    (block(0x21, 0x21, SIX), ("2001:db8::7", 40_000)),
    (block(0x21, 0x11, FOUR + b"\x04\x00\x03abc"), ("192.0.2.7", 40_000)),
    (block(0x20, 0x11, FOUR), None),
    (block(0x20, 0x00, b""), None),
    (block(0x21, 0x00, b"anything"), None),
]
INVALID = [
    HTTP,
    b"\r\n\r\nGET",
    b"proxy TCP4 192.0.2.7 198.51.100.1 40000 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\n",
    b"PROXY TCP4  192.0.2.7 198.51.100.1 40000 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443 \r\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 40000 443\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 40000 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 01 443\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 " + b"1" * MAX_LINE,
    b"PROXY UNKNOWN " + b"x" * MAX_LINE + b"\r\n",
    block(0x11, 0x11, FOUR),
    block(0x22, 0x11, FOUR),
    block(0x21, 0x12, FOUR),
    block(0x21, 0x31, bytes(216)),
    block(0x21, 0x11, FOUR[:-1]),
    block(0x21, 0x21, FOUR),
    block(0x21, 0x11, FOUR, MAX_BLOCK + 1),
]


@pytest.mark.parametrize(("header", "client"), VALID)
def test_names_the_client(header: bytes, client: tuple[str, int] | None) -> None:
    assert read_proxy_header(header + HTTP) == ProxyHeader(client, len(header))


@given(st.sampled_from(VALID), st.data())
def test_is_incomplete_until_its_last_byte(case: tuple[bytes, object], data: st.DataObject) -> None:
    header, _ = case

    assert read_proxy_header(header[: data.draw(st.integers(0, len(header) - 1))]) is None


@pytest.mark.parametrize("data", INVALID)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ProxyHeaderInvalid):
        read_proxy_header(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        header = read_proxy_header(data)
    except ProxyHeaderInvalid:
        return
    assert header is None or header.size <= len(data)
