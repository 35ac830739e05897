"""From ASGI to what the policy reads."""

from starlette.types import Scope

from portico.gateway.request_head import RequestHead
from portico.gateway.routes import WEBSOCKET

SECURE = frozenset(("https", "wss"))


def head_of(scope: Scope) -> RequestHead:
    """The head of a request or of a WebSocket handshake."""
    client = scope.get("client")
    raw_path = scope.get("raw_path")
    return RequestHead(
        method=WEBSOCKET if scope["type"] == "websocket" else scope["method"],
        path=raw_path if raw_path is not None else scope["path"].encode(),
        query=scope["query_string"],
        headers=scope["headers"],
        peer=client[0] if client else "",
        scheme="https" if scope["scheme"] in SECURE else "http",
        http_version=scope.get("http_version", "1.1"),
    )
