"""One request at the proxy, and the maximum number of concurrent requests."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from portico.gateway.access_log import AccessRecord
from portico.gateway.proxy.streams import RelayedStream
from portico.gateway.request_head import Header, RequestHead
from portico.gateway.request_ids import RequestIds
from portico.gateway.routes import WEBSOCKET, Route
from portico.kit.foundation.problems import Unavailable
from portico.kit.http.request_body import BodyLimits

CLIENT_GONE = 499
SECURE_SCHEMES = frozenset(("https", "wss"))


async def _unconnected(*_: object) -> Any:
    raise RuntimeError("the request has no ASGI connection")


class Overloaded(Unavailable):
    detail = "The gateway is at its limit of concurrent requests. Retry in {retry_after:.0f} seconds."


@dataclass(frozen=True, slots=True)
class Capacity:
    """Maximum numbers of concurrent requests and of concurrent streams, and the limits of request bodies.

    Streams (server-sent events, WebSockets) are long-lived. They are counted separately, so that they leave room for
    requests. A client holds at most a share (0 to 1) of each. A request that waits for its body counts only in
    `bodies`.
    """

    requests: int
    streams: int
    client_share: float
    bodies: BodyLimits


@dataclass(slots=True)
class ProxyRequest:
    """One request: its ASGI connection, its access record, and the headers added to its response."""

    head: RequestHead
    ids: RequestIds
    access: AccessRecord
    added: list[Header]
    route: Route | None = None
    scope: Scope = field(default_factory=dict)
    receive: Receive = _unconnected
    send: Send = _unconnected
    stream: RelayedStream | None = None
    release: Callable[[], None] = lambda: None


def head_of(scope: Scope) -> RequestHead:
    """Return the head of a request or of a WebSocket handshake."""
    client = scope.get("client")
    raw_path = scope.get("raw_path")
    return RequestHead(
        method=WEBSOCKET if scope["type"] == "websocket" else scope["method"],
        path=raw_path if raw_path is not None else scope["path"].encode(),
        query=scope["query_string"],
        headers=scope["headers"],
        peer=client[0] if client else "",
        scheme="https" if scope["scheme"] in SECURE_SCHEMES else "http",
        http_version=scope.get("http_version", "1.1"),
    )
