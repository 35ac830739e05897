"""ASGI scopes of the requests to services in this process."""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

from portico.gateway.upstreams.base import UpstreamRequest

# The peer that a service sees: the gateway on this machine.
CLIENT = ("127.0.0.1", 0)


def http_scope(request: UpstreamRequest, service: str) -> MutableMapping[str, Any]:
    """Return the ASGI scope of this request to `service`."""
    return {"type": "http", "method": request.method, **_scope(request, service, "http")}


def websocket_scope(request: UpstreamRequest, service: str) -> MutableMapping[str, Any]:
    """Return the ASGI scope of this handshake with `service`."""
    return {
        "type": "websocket",
        "subprotocols": list(request.subprotocols),
        "extensions": {"websocket.http.response": {}},
        **_scope(request, service, "ws"),
    }


def _scope(request: UpstreamRequest, service: str, scheme: str) -> dict[str, Any]:
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
