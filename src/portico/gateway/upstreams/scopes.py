"""ASGI scopes for apps that are called without a socket."""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

from portico.gateway.upstreams.base import Sending

# What a service sees of who is connected: the gateway, on this machine.
CLIENT = ("127.0.0.1", 0)


def http_scope(request: Sending, service: str) -> MutableMapping[str, Any]:
    """The scope that a server would make of this request to `service`."""
    return {"type": "http", "method": request.method, **_common(request, service, "http")}


def websocket_scope(request: Sending, service: str) -> MutableMapping[str, Any]:
    return {
        "type": "websocket",
        "subprotocols": list(request.subprotocols),
        "extensions": {"websocket.http.response": {}},
        **_common(request, service, "ws"),
    }


def _common(request: Sending, service: str, scheme: str) -> dict[str, Any]:
    return {
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": scheme,
        "path": unquote(request.path.decode("ascii")),
        "raw_path": request.path,
        "root_path": "",
        "query_string": request.query,
        "headers": [(b"host", service.encode()), *request.headers],
        "client": CLIENT,
        "server": (service, 80),
        "state": {},
    }
