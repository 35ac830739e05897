"""A service whose behaviour a test scripts, and which records its requests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from portico.gateway.routes import WEBSOCKET, Route
from portico.kit.auth.access import Access

Handler = Callable[["ServiceRequest"], Awaitable[None]]

ROUTES = (
    Route("echo", "GET", "/echo"),
    Route("echo", "POST", "/echo"),
    Route("echo", "PUT", "/echo"),
    Route("echo", "GET", "/echo/{name}"),
    Route("echo", "POST", "/small", body_limit=10),
    Route("echo", "GET", "/slow", timeout=0.3),
    Route("echo", "POST", "/slow", timeout=0.3),
    Route("echo", "GET", "/me", Access("signed_in")),
    Route("echo", "POST", "/products", Access("permission", "products:write")),
    Route("echo", "POST", "/login", rate="sign_in"),
    Route("echo", "POST", "/token", rate="sign_in", body_limit=10, oauth_errors=True, any_origin=True),
    Route("echo", WEBSOCKET, "/ws", streams=True),
)


class ServiceRequest:
    """One request as the service receives it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._whole = False

    async def begin(self, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, chunk: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def answer(self, status: int, body: bytes = b"", *headers: tuple[bytes, bytes]) -> None:
        await self.begin(status, (b"content-length", str(len(body)).encode()), *headers)
        await self.write(body, more=False)

    async def chunk(self) -> bytes | None:
        """Return the next chunk of the body; None at its end."""
        while not self._whole:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            self._whole = not message["more_body"]
            if message["body"]:
                chunk: bytes = message["body"]
                return chunk
        return None

    async def disconnected(self) -> None:
        while (await self.receive())["type"] not in {"http.disconnect", "websocket.disconnect"}:
            pass


class Service:
    """ASGI application. `on(path, handler)` sets the handler of a path. Other paths echo the request."""

    def __init__(self, name: str = "echo") -> None:
        self.name = name
        self.requests: list[ServiceRequest] = []
        self._handlers: dict[str, Handler] = {}

    def on(self, path: str, handler: Handler) -> None:
        self._handlers[path] = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = ServiceRequest(scope, receive, send)
        self.requests.append(request)
        await self._handlers.get(scope["path"], self._echo)(request)

    async def _echo(self, request: ServiceRequest) -> None:
        body = b""
        while (chunk := await request.chunk()) is not None:
            body += chunk
        scope = request.scope
        seen: dict[str, Any] = {
            "service": self.name,
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
            "body": body.decode(),
        }
        await request.answer(200, orjson.dumps(seen), (b"content-type", b"application/json"))


async def until(condition: Callable[[], object]) -> None:
    """Run the event loop until `condition` is true, for at most a minute."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the condition is arbitrary, so there is no event to wait for
            await asyncio.sleep(0)


def texts(messages: list[Message]) -> list[object]:
    return [message.get("text", message.get("bytes")) for message in messages]
