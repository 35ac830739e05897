"""Outer middleware of a service: one ASGI callable with one wrapped `send`.

Request id, trace, deadline, authentication, security headers, access log and metrics together cost 12 µs here. A single
`BaseHTTPMiddleware` would cost 120 µs.
"""

import asyncio
import math
import random
import re
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portico.kit.data.pool import current_workload
from portico.kit.foundation.problems import BadRequest, Problem
from portico.kit.http.authentication import Authentication
from portico.kit.http.context import HttpContext
from portico.kit.http.live import SWITCHED, Handshake
from portico.kit.http.problems import MEDIA_TYPE, problem_bytes
from portico.kit.http.router import WEBSOCKET
from portico.kit.http.stream_connections import CONNECTION_HANDOVER, ConnectionHandover, hand_over
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.logs import get_logger
from portico.kit.telemetry.traces import Span

logger = get_logger(__name__)

DEADLINE_HEADER = b"x-request-deadline-ms"
QUIET = "portico.quiet"
"""Key of the scope. An endpoint sets it to True to log the request like one of a quiet route."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
_DIGITS = 12
_CLIENT_CLOSED_REQUEST = 499
_CLIENT_ERROR = 400  # RFC 9110 section 15.5
_SERVER_ERROR = 500
_VARY = (b"vary", b"Origin")
_SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]


class ServiceMiddleware:
    """Handles the concerns of every request of a service.

    Args:
        app: the service's routes.
        cors: the same routes with CORS, for requests of browsers.
        context: the context of the service.
        polled: the paths whose requests start no trace.
    """

    def __init__(self, app: ASGIApp, cors: ASGIApp, context: HttpContext, *, polled: frozenset[str]) -> None:
        self._app = app
        self._cors = cors
        self._context = context
        self._polled = polled
        self._requests = context.metrics.requests
        self._foreground = context.foreground

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        private, traceparent = self._prepare(scope)
        if scope["type"] == "websocket":
            await self._connect(scope, receive, send, traceparent)
            return
        if scope["method"] == "HEAD":
            # A HEAD has the response of a GET (RFC 9110 section 9.3.2). The server leaves out the body.
            scope = {**scope, "method": "GET", "portico.is_head": True}
        path = scope["path"]
        span = self._context.tracing.serve(
            method=scope["method"], path=path, traceparent=traceparent, polled=path in self._polled
        )
        request_context.set(RequestContext(self._context.name, scope["portico.request_id"], span.context))
        current_workload.set("request")
        scope["portico.span"] = span
        answer = _Response(scope, send, private=private)
        began = perf_counter()
        self._requests.in_flight += 1
        is_foreground = path not in self._polled
        if is_foreground:
            self._foreground.begin()
        try:
            await self._serve(scope, receive, answer)
        finally:
            self._requests.in_flight -= 1
            if is_foreground:
                self._foreground.end()
            self._record(scope, answer.status or _CLIENT_CLOSED_REQUEST, perf_counter() - began, span)

    async def _connect(self, scope: Scope, receive: Receive, send: Send, traceparent: str | None) -> None:
        """Serve a WebSocket. Its route sends problems itself. It is logged and counted when it ends."""
        scope["method"] = WEBSOCKET
        span = self._context.tracing.serve(method=WEBSOCKET, path=scope["path"], traceparent=traceparent)
        request_context.set(RequestContext(self._context.name, scope["portico.request_id"], span.context))
        current_workload.set("request")
        scope["portico.span"] = span
        handshake = Handshake(send)
        began = perf_counter()
        try:
            await self._app(scope, receive, handshake.send)
        finally:
            self._record(scope, handshake.status, perf_counter() - began, span)

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Response") -> None:
        try:
            if b"%00" in scope.get("raw_path", b"") or "\0" in scope["path"]:
                await self._reject(scope, answer, BadRequest(reason="the path must not contain the character U+0000"))
            else:
                app = self._cors if scope["portico.has_origin"] else self._app
                await app(scope, _StoppableReceive(receive, answer, self._context.stopping), answer.send)
                if self._context.stopping.is_set():
                    await answer.end_stream()
        except Exception:
            logger.exception("request_failed", method=scope["method"], path=scope["path"])
            if answer.status:
                raise  # part of the response is already sent, so the server must abort the connection
            await self._reject(scope, answer, Problem())

    def _prepare(self, scope: Scope) -> tuple[bool, str | None]:
        """Add request data to the scope. Return whether a token was sent, and the caller's trace."""
        request_id = authorization = deadline = traceparent = origin = None
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value
            elif name == b"authorization":
                authorization = value if authorization is None else b""  # two headers contradict: ignore both
            elif name == b"origin":
                origin = value
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
            elif name == DEADLINE_HEADER:
                deadline = value
        if request_id is None or _REQUEST_ID.fullmatch(request_id) is None:
            request_id = b"%016x" % random.getrandbits(64)  # unique, not secret
        scope["portico.request_id"] = request_id.decode()
        scope["portico.has_origin"] = origin is not None
        scope["portico.context"] = self._context
        scope["portico.authentication"] = Authentication(self._context.verifier, authorization)
        scope["portico.started_at"] = asyncio.get_running_loop().time()
        scope["portico.time_limit"] = _seconds_left(deadline)
        return authorization is not None, traceparent

    async def _reject(self, scope: Scope, answer: "_Response", problem: Problem) -> None:
        request_id = scope["portico.request_id"]
        body = problem_bytes(problem, instance=scope["path"], request_id=request_id, case=self._context.system.case)
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await answer.send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await answer.send({"type": "http.response.body", "body": body})

    def _record(self, scope: Scope, status: int, seconds: float, span: Span) -> None:
        route = scope.get("route")
        path = None if route is None else route.path
        if status != SWITCHED:  # the duration of a stream is not a response time
            self._requests.observe(scope["method"], path, status, seconds)
        span.end(route=path, status=status)
        log = self._context.request_log
        is_quiet = getattr(route, "quiet", False) or scope.get(QUIET, False)
        if log is None or (is_quiet and not _CLIENT_ERROR <= status < _SERVER_ERROR):
            return
        principal = scope["portico.authentication"].principal
        log(
            method=scope["method"],
            path=scope["path"],
            route=path,
            status=status,
            seconds=seconds,
            request_id=scope["portico.request_id"],
            trace_id=span.context.trace_id,
            subject=None if principal is None else principal.subject,
        )


def _seconds_left(header: bytes | None) -> float:
    """Return the caller's remaining time (seconds), or infinity."""
    if header is None or not header.isdigit() or len(header) > _DIGITS:
        return math.inf
    return int(header) / 1000


class _StoppableReceive:
    """Receive callable that reports a disconnect to event streams when the service stops, so that they end."""

    __slots__ = ("_answer", "_body_is_read", "_receive", "_stopping")

    def __init__(self, receive: Receive, answer: "_Response", stopping: asyncio.Event) -> None:
        self._receive = receive
        self._answer = answer
        self._stopping = stopping
        self._body_is_read = False

    async def __call__(self) -> Message:
        if self._body_is_read:
            return await self._after_body()
        message = await self._receive()
        self._body_is_read = not message.get("more_body", False)
        return message

    async def _after_body(self) -> Message:
        """Wait for the message after the body: a disconnect of the client, or one because the service stops."""
        message = asyncio.ensure_future(self._receive())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({message, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if message.done() or not self._answer.streams_events:
                return await message
            return {"type": "http.disconnect"}
        finally:
            message.cancel()
            stopping.cancel()


class _Response:
    """Adds headers to the response and records its status."""

    __slots__ = ("_headers", "_private", "_send", "_unfinished", "status", "streams_events")

    def __init__(self, scope: Scope, send: Send, *, private: bool) -> None:
        self._headers = [(b"x-request-id", scope["portico.request_id"].encode()), *_SAFE]
        if not scope["portico.has_origin"]:
            self._headers.append(_VARY)  # with an Origin header, the CORS middleware sets it
        self._private = private
        self._send = send
        self._unfinished = False
        self.status = 0
        self.streams_events = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), *self._headers]
            if self._private and all(name != b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))  # a shared cache must not store a caller's data
            message["headers"] = headers
            self.streams_events = any(
                name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers
            )
            self._unfinished = self.streams_events
            source: ConnectionHandover | None = message.pop(CONNECTION_HANDOVER, None)
            if source is not None:
                self.streams_events = False  # its writer ends it when the service stops
                await self._send(message)
                self._unfinished = not source.take(hand_over(self._send, source))
                return
        elif self._unfinished:
            self._unfinished = message.get("more_body", False)
        await self._send(message)

    async def end_stream(self) -> None:
        """End an event stream properly, so that its reader does not see a broken connection."""
        if self._unfinished:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})
