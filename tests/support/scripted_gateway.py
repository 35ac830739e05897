"""A gateway that returns the responses of a script, for tests of its clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from portico.testing.loopback import loopback_server


class ScriptedGateway:
    """Returns the responses of its script, and records tokens and idempotency keys."""

    def __init__(self) -> None:
        self.script: list[JSONResponse] = []
        self.tokens: list[str | None] = []
        self.keys: list[str | None] = []

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve on a free port; the value is the address."""
        live = WebSocketRoute("/orders/1/live", self._send_statuses)
        app = Starlette(routes=[live, Route("/{path:path}", self._respond, methods=["GET", "POST"])])
        async with loopback_server(app) as address:
            yield address

    async def _respond(self, request: Request) -> JSONResponse:
        self.tokens.append(request.headers.get("authorization"))
        self.keys.append(request.headers.get("idempotency-key"))
        return self.script.pop(0)

    async def _send_statuses(self, socket: WebSocket) -> None:
        self.tokens.append(socket.headers.get("authorization"))
        await socket.accept()
        for status in ("pending", "confirmed"):
            await socket.send_json({"status": status})
        await socket.close()
