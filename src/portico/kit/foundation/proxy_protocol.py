"""PROXY protocol, versions 1 and 2: the header with which a load balancer begins a connection and names its client.

The HTTP server reads it, on connections from trusted proxies only (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt).
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
MAX_LINE: Final = 107
"""Bytes of a header of version 1, with its line end (section 2.1)."""
MAX_BLOCK: Final = 2048
"""Bytes of addresses and additional values of version 2 that are accepted. The protocol allows 65,535."""

_BEGINNING: Final = b"PROXY "
_LINE: Final = re.compile(rb"PROXY (TCP4|TCP6) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n")
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [\x20-\x7e]*)?\r\n")
_HEAD_BYTES: Final = 16
_MAX_PORT: Final = 65_535
_VERSION: Final = 0x20
_LOCAL, _PROXIED = 0, 1
_UNSPECIFIED, _TCP4, _TCP6 = 0x00, 0x11, 0x21
_PORTS_BYTES: Final = 4


class ProxyHeaderInvalid(ValueError):
    """The connection does not begin with a header of the PROXY protocol."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A complete header.

    Args:
        client: Address and port of the client; None if the proxy does not know it or speaks for itself.
        size: Bytes of the header; HTTP begins behind it.
    """

    client: tuple[str, int] | None
    size: int


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header at the beginning of a connection. Return None if it is not complete.

    Raises:
        ProxyHeaderInvalid: `data` is not the beginning of a header.
    """
    if data.startswith(SIGNATURE):
        return _read_block(data)
    if SIGNATURE.startswith(data):
        return None
    if data.startswith(_BEGINNING) or _BEGINNING.startswith(data):
        return _read_line(data)
    raise ProxyHeaderInvalid


def _read_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\n", 0, MAX_LINE) + 1
    if not end:
        if len(data) >= MAX_LINE:
            raise ProxyHeaderInvalid
        return None
    line = data[:end]
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(None, end)
    found = _LINE.fullmatch(line)
    if found is None or max(int(found[4]), int(found[5])) > _MAX_PORT:
        raise ProxyHeaderInvalid
    kind = IPv4Address if found[1] == b"TCP4" else IPv6Address
    try:
        source, _ = kind(found[2].decode("ascii")), kind(found[3].decode("ascii"))
    except ValueError as error:
        raise ProxyHeaderInvalid from error
    return ProxyHeader((_text(source), int(found[4])), end)


def _read_block(data: bytes) -> ProxyHeader | None:
    if len(data) < _HEAD_BYTES:
        return None
    version, family = data[12], data[13]
    length = int.from_bytes(data[14:16], "big")
    command = version - _VERSION
    if command not in {_LOCAL, _PROXIED} or length > MAX_BLOCK:
        raise ProxyHeaderInvalid
    size = _HEAD_BYTES + length
    if len(data) < size:
        return None
    if command == _LOCAL or family == _UNSPECIFIED:
        return ProxyHeader(None, size)
    width = {_TCP4: 4, _TCP6: 16}.get(family)
    if width is None or length < 2 * width + _PORTS_BYTES:
        raise ProxyHeaderInvalid
    source = data[_HEAD_BYTES : _HEAD_BYTES + width]
    port = int.from_bytes(data[_HEAD_BYTES + 2 * width : _HEAD_BYTES + 2 * width + 2], "big")
    return ProxyHeader((_text(IPv4Address(source) if family == _TCP4 else IPv6Address(source)), port), size)


def _text(address: IPv4Address | IPv6Address) -> str:
    """Return the address as text. A zone is dropped, an IPv4-mapped address becomes IPv4."""
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Address(int(address)))
    return str(address)
