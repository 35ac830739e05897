"""HTTP connections: uvicorn's protocol with limits and strict checks. Violations result in problem documents.

Request smuggling (RFC 9112 section 11.2) relies on two parsers that read one request differently. Ambiguous requests
are rejected here, for services and the gateway, and the connection is closed.
"""

import asyncio
import re
import secrets
import sys
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, ClassVar

from websockets.exceptions import InvalidHeader, InvalidMessage
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.server import ServerProtocol

from portico.kit._compat.uvicorn import LimitedHttpProtocol
from portico.kit._compat.uvicorn_websocket import WebSocketConnection
from portico.kit.foundation.ip_addresses import address_key, parse_address
from portico.kit.foundation.problems import BadRequest, Problem
from portico.kit.foundation.proxy_protocol import ProxyHeaderInvalid, read_proxy_header
from portico.kit.foundation.request_framing import HeadFault, HeadRejected, RequestBytes
from portico.kit.foundation.shares import Shares, TooManyAtOnce
from portico.kit.http.problems import MEDIA_TYPE, problem_bytes
from portico.kit.settings.values import Network
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

Fields = list[tuple[bytes, bytes]]

WEBSOCKET_VERSION = "13"  # RFC 6455 section 4.1
_VERSION_HEADER = "Sec-WebSocket-Version"
_SWITCHING_PROTOCOLS = 101

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) [^\x00-\x20\x7f#]+ HTTP/(\d\.\d)\r\n")
_VERSIONS = frozenset((b"1.0", b"1.1"))
_BEHIND_VALUE = re.compile(rb"(?<=[^ \t\r\n])[ \t]+(?=\r\n)")


class HeadTooLong(Problem):
    status = 431
    detail = "The head of the request, or the data between its chunks, is longer than {limit} bytes."

    limit: int


class HeadTooSlow(Problem):
    status = 408
    detail = "The head of the request was not complete within {seconds:.0f} seconds."

    seconds: float


class HttpVersionNotSupported(Problem):
    status = 505
    detail = "This version of HTTP is not supported. Use HTTP/1.1."


class TransferCodingUnknown(Problem):
    status = 501
    detail = "The request has a transfer coding other than 'chunked'. Send the body chunked or with Content-Length."


class WebSocketVersionNotSupported(Problem):
    """The response names the supported version (RFC 6455 section 4.2.2)."""

    status = 426
    code = "websocket_version_not_supported"
    detail = "This version of WebSocket is not supported. Connect with Sec-WebSocket-Version: 13."

    @property
    def headers(self) -> dict[str, str]:
        return {_VERSION_HEADER.lower(): WEBSOCKET_VERSION, "upgrade": "websocket", "connection": "upgrade, close"}


class TooManyConnections(TooManyAtOnce):
    """An address has reached its limit of connections to a port."""

    detail = "This address has too many open connections. Close some, or retry in {retry_after:.0f} seconds."


class OpenConnections:
    """The open connections of a port, counted by address. WebSockets are included.

    Args:
        limit_each: maximum per address.
        exempt: networks whose connections are not counted, such as proxies, which connect for many clients.
    """

    def __init__(self, limit_each: int, exempt: Iterable[Network]) -> None:
        self._shares = Shares(sys.maxsize, limit_each, exceeded=TooManyConnections)
        self._exempt = tuple(exempt)
        self._holders: dict[asyncio.Transport, str] = {}

    def add(self, transport: asyncio.Transport, host: str) -> None:
        """Count a connection. Raises TooManyConnections."""
        address = parse_address(host)
        if address is None or any(address in network for network in self._exempt):
            return
        holder = address_key(host)
        self._shares.take(holder)
        self._holders[transport] = holder

    def remove(self, transport: asyncio.Transport) -> None:
        """Stop counting a closed connection."""
        if (holder := self._holders.pop(transport, None)) is not None:
            self._shares.release(holder)


class CountedWebSocket(WebSocketConnection):
    """WebSocket that was counted as a connection."""

    open_connections: ClassVar[OpenConnections | None] = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.open_connections is not None:
            self.open_connections.remove(self.transport)
        super().connection_lost(exc)


class LimitedConnection(LimitedHttpProtocol):
    """HTTP/1.1 connection with strict framing, and limits for the head's size and time and the number of connections.

    Attributes:
        open_connections: counts the connections of the port; None counts none.
        proxies: networks whose connections begin with a header of the PROXY protocol.
    """

    __slots__ = ("_proxy_header", "awaits_proxy_header")

    open_connections: ClassVar[OpenConnections | None] = None
    proxies: ClassVar[tuple[Network, ...]] = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.awaits_proxy_header = False
        self._proxy_header = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        address = parse_address(self.client[0]) if self.proxies and self.client is not None else None
        self.awaits_proxy_header = address is not None and any(address in network for network in self.proxies)
        if not self.awaits_proxy_header:
            self.count_client()

    def data_received(self, data: bytes) -> None:
        if self.awaits_proxy_header:
            data = self.read_proxy_header(data)
            if not data:
                return
        super().data_received(data)

    def read_proxy_header(self, data: bytes) -> bytes:
        """Read the header of the PROXY protocol, and set the client from it. Return the bytes after it."""
        received = self._proxy_header + data
        try:
            header = read_proxy_header(received)
        except ProxyHeaderInvalid:
            logger.warning("proxy_header_rejected", peer=self.client[0] if self.client else "")
            self.transport.abort()
            return b""
        if header is None:
            self._proxy_header = received
            return b""
        self.awaits_proxy_header, self._proxy_header = False, b""
        self.client = header.client or self.client
        self.count_client()
        return b"" if self.transport.is_closing() else received[header.size :]

    def count_client(self) -> None:
        """Count the connection once its client is known. Reject it if the client has reached its limit."""
        if self.open_connections is None or self.client is None:
            return
        try:
            self.open_connections.add(self.transport, self.client[0])
        except TooManyConnections as problem:
            self.transport.write(self._whole(problem))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.open_connections is not None:
            self.open_connections.remove(self.transport)
        super().connection_lost(exc)

    def detach(self) -> Callable[[asyncio.Transport], None] | None:
        super().detach()
        return None if self.open_connections is None else self.open_connections.remove

    def rejection(self, rejected: HeadRejected) -> bytes:
        """Return a problem document as a complete HTTP response that closes the connection."""
        return self._whole(self._problem(rejected))

    def _whole(self, problem: Problem) -> bytes:
        body = problem_bytes(problem, instance="", request_id=secrets.token_hex(8))
        status = HTTPStatus(problem.status)
        headers = {
            "content-type": MEDIA_TYPE,
            "content-length": len(body),
            "cache-control": "no-store",
            "connection": "close",
            **problem.headers,
        }
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def check_request_line(self, line: bytes) -> None:
        """Check that the request is HTTP/1.1 or HTTP/1.0, and not another protocol that the parser accepts."""
        found = _REQUEST_LINE.fullmatch(line)
        if found is None:
            raise HeadRejected(HeadFault.MALFORMED)
        if found[2] not in _VERSIONS:
            raise HeadRejected(HeadFault.OTHER_VERSION)
        if found[1] == b"CONNECT":
            raise HeadRejected(HeadFault.MALFORMED, "CONNECT is for proxies")

    def check_head(self, head: bytes) -> RequestBytes:
        """Check the request line, the framing, Host and an upgrade."""
        line = head[: head.index(b"\n") + 1]
        self.check_request_line(line)
        is_current = line.endswith(b"1.1\r\n")
        folded = head.lower()
        hosts = folded.count(b"\r\nhost:")
        if hosts > 1 or (is_current and not hosts):
            raise HeadRejected(HeadFault.MALFORMED, "it must have one Host header")  # RFC 9112 section 3.2
        if b"\r\ntransfer-encoding:" in folded:
            _check_coding(_fields(head), is_current=is_current)
            head = _BEHIND_VALUE.sub(b"", head)  # the parser accepts only spaces after a coding
        if b"\r\nupgrade:" in folded:
            return self._check_upgrade(line, head, is_current=is_current)
        return RequestBytes(head)

    def _check_upgrade(self, line: bytes, head: bytes, *, is_current: bool) -> RequestBytes:
        """Check the handshake of a WebSocket. Ignore any other upgrade (RFC 9110 section 7.8)."""
        fields = _fields(head)
        if is_current and _is_websocket(fields) and self.ws_protocol_class is not None:
            handshake = line + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"
            _check_handshake(handshake)
            return RequestBytes(handshake, is_handshake=True)
        # The parser would treat the body as another protocol.
        lines = [each for each in head.split(b"\r\n") if not each.lower().startswith(b"upgrade:")]
        return RequestBytes(b"\r\n".join(lines))

    def _problem(self, rejected: HeadRejected) -> Problem:
        match rejected.fault:
            case HeadFault.TOO_LONG:
                return HeadTooLong(limit=self.max_head)
            case HeadFault.TOO_SLOW:
                return HeadTooSlow(seconds=self.head_seconds)
            case HeadFault.OTHER_VERSION:
                return HttpVersionNotSupported()
            case HeadFault.UNKNOWN_CODING:
                return TransferCodingUnknown()
            case HeadFault.OTHER_WEBSOCKET_VERSION:
                return WebSocketVersionNotSupported()
            case HeadFault.MALFORMED:
                return BadRequest(reason=rejected.reason)


def _fields(head: bytes) -> Fields:
    """Return the fields with names in lower case and without white space around the values."""
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:-2])
    return [(name.lower(), value.strip(b" \t")) for name, _, value in pairs]


def _elements(fields: Fields, name: bytes) -> list[bytes]:
    """Return the elements of a list field, in lower case, from all its lines (RFC 9110 section 5.6.1)."""
    lists = [value.lower().split(b",") for key, value in fields if key == name]
    return [element.strip(b" \t") for elements in lists for element in elements]


def _check_coding(fields: Fields, *, is_current: bool) -> None:
    """Raise HeadRejected unless the only transfer coding is `chunked` (RFC 9112 sections 6.1 and 6.3)."""
    if not is_current:
        raise HeadRejected(HeadFault.MALFORMED, "Transfer-Encoding is not part of HTTP/1.0")
    *others, last = _elements(fields, b"transfer-encoding")
    if last != b"chunked" or b"chunked" in others or b"" in others:
        raise HeadRejected(HeadFault.MALFORMED, "the last transfer coding must be 'chunked'")
    if others:
        raise HeadRejected(HeadFault.UNKNOWN_CODING)


def _is_websocket(fields: Fields) -> bool:
    return _elements(fields, b"upgrade") == [b"websocket"] and b"upgrade" in _elements(fields, b"connection")


def _check_handshake(handshake: bytes) -> None:
    """Check a handshake with the WebSocket parser before the connection is switched. Raises HeadRejected."""
    server = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()])
    server.receive_data(handshake)
    requests = [event for event in server.events_received() if isinstance(event, Request)]
    if requests and server.accept(requests[0]).status_code == _SWITCHING_PROTOCOLS:
        return
    error = server.handshake_exc
    if isinstance(error, InvalidHeader) and error.name == _VERSION_HEADER:
        raise HeadRejected(HeadFault.OTHER_WEBSOCKET_VERSION)
    cause = error.__cause__ if isinstance(error, InvalidMessage) else error
    raise HeadRejected(HeadFault.MALFORMED, f"the WebSocket handshake is not valid: {cause}")
