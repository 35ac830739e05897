"""The frame around a service's app: one ASGI callable, one wrapped `send`.

Request id, trace, deadline, who calls, safe headers, the access log and the metrics in one frame cost 12 µs; one
`BaseHTTPMiddleware` alone would cost 120.
"""

import asyncio
import math
import random
import re
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portico.kit.foundation.problems import BadRequest, Problem
from portico.kit.http.authentication import Authentication
from portico.kit.http.context import HttpContext
from portico.kit.http.live import SWITCHED, Handshake
from portico.kit.http.problems import MEDIA_TYPE, problem_bytes
from portico.kit.http.router import WEBSOCKET
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.logs import get_logger
from portico.kit.telemetry.traces import Span

logger = get_logger(__name__)

DEADLINE_HEADER = b"x-request-deadline-ms"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
_DIGITS = 12
_CALLER_LEFT = 499
_WRONGLY_ASKED = 400  # RFC 9110 section 15.5; from 500 on the fault is the server's
_SERVER_ERROR = 500
_VARY = (b"vary", b"Origin")
_SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]


class ServiceMiddleware:
    """What happens around every request of a service."""

    def __init__(self, app: ASGIApp, cors: ASGIApp, context: HttpContext) -> None:
        self._app = app
        self._cors = cors
        self._context = context
        self._requests = context.metrics.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        private, traceparent = self._prepare(scope)
        if scope["type"] == "websocket":
            await self._connect(scope, receive, send, traceparent)
            return
        if scope["method"] == "HEAD":
            # the same answer (RFC 9110 section 9.3.2); the server leaves out the body
            scope = {**scope, "method": "GET"}
        span = self._context.tracing.serve(method=scope["method"], path=scope["path"], traceparent=traceparent)
        request_context.set(RequestContext(self._context.name, scope["portico.request_id"], span.context))
        scope["portico.span"] = span
        answer = _Answer(scope, send, private=private)
        began = perf_counter()
        self._requests.in_flight += 1
        try:
            await self._serve(scope, receive, answer)
        finally:
            self._requests.in_flight -= 1
            self._record(scope, answer.status or _CALLER_LEFT, perf_counter() - began, span)

    async def _connect(self, scope: Scope, receive: Receive, send: Send, traceparent: str | None) -> None:
        """A WebSocket: its route tells problems itself; its line is written, and it is counted, when it ends."""
        scope["method"] = WEBSOCKET
        span = self._context.tracing.serve(method=WEBSOCKET, path=scope["path"], traceparent=traceparent)
        request_context.set(RequestContext(self._context.name, scope["portico.request_id"], span.context))
        scope["portico.span"] = span
        handshake = Handshake(send)
        began = perf_counter()
        try:
            await self._app(scope, receive, handshake.send)
        finally:
            self._record(scope, handshake.status, perf_counter() - began, span)

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            if b"%00" in scope.get("raw_path", b"") or "\0" in scope["path"]:
                await self._refuse(scope, answer, BadRequest(reason="the path must not hold the character U+0000"))
            else:
                app = self._cors if scope["portico.from_page"] else self._app
                await app(scope, _Receiving(receive, answer, self._context.stopping), answer.send)
                if self._context.stopping.is_set():
                    await answer.end_stream()
        except Exception:
            logger.exception("request_failed", method=scope["method"], path=scope["path"])
            if answer.status:
                raise  # half an answer is out: the server must cut the connection, not finish it
            await self._refuse(scope, answer, Problem())

    def _prepare(self, scope: Scope) -> tuple[bool, str | None]:
        """Put into the scope what the rest will ask for; whether a token came, and the caller's trace."""
        request_id = authorization = deadline = traceparent = origin = None
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value
            elif name == b"authorization":
                authorization = value if authorization is None else b""  # two say two things: neither is believed
            elif name == b"origin":
                origin = value
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
            elif name == DEADLINE_HEADER:
                deadline = value
        if request_id is None or _REQUEST_ID.fullmatch(request_id) is None:
            request_id = b"%016x" % random.getrandbits(64)  # to be found in the logs, not to be secret
        scope["portico.request_id"] = request_id.decode()
        scope["portico.from_page"] = origin is not None
        scope["portico.context"] = self._context
        scope["portico.authentication"] = Authentication(self._context.verifier, authorization)
        scope["portico.began"] = asyncio.get_running_loop().time()
        scope["portico.patience"] = _seconds_left(deadline)
        return authorization is not None, traceparent

    async def _refuse(self, scope: Scope, answer: "_Answer", problem: Problem) -> None:
        request_id = scope["portico.request_id"]
        body = problem_bytes(problem, instance=scope["path"], request_id=request_id, case=self._context.system.case)
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await answer.send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await answer.send({"type": "http.response.body", "body": body})

    def _record(self, scope: Scope, status: int, seconds: float, span: Span) -> None:
        route = scope.get("route")
        path = None if route is None else route.path
        if status != SWITCHED:  # how long somebody listened is not how long an answer took
            self._requests.observe(scope["method"], path, status, seconds)
        span.end(route=path, status=status)
        log = self._context.request_log
        if log is None or (getattr(route, "quiet", False) and not _WRONGLY_ASKED <= status < _SERVER_ERROR):
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
    """How long the caller waits."""
    if header is None or not header.isdigit() or len(header) > _DIGITS:
        return math.inf
    return int(header) / 1000


class _Receiving:
    """Tells an event stream that its reader is gone once the service stops: it would go on for ever."""

    __slots__ = ("_answer", "_body_is_read", "_receive", "_stopping")

    def __init__(self, receive: Receive, answer: "_Answer", stopping: asyncio.Event) -> None:
        self._receive = receive
        self._answer = answer
        self._stopping = stopping
        self._body_is_read = False

    async def __call__(self) -> Message:
        if self._body_is_read:
            return await self._gone()
        message = await self._receive()
        self._body_is_read = not message.get("more_body", False)
        return message

    async def _gone(self) -> Message:
        """What comes behind the body: that the reader went away, or that an event stream has to end."""
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


class _Answer:
    """Adds headers to the answer and remembers its status."""

    __slots__ = ("_headers", "_private", "_send", "_unfinished", "status", "streams_events")

    def __init__(self, scope: Scope, send: Send, *, private: bool) -> None:
        self._headers = [(b"x-request-id", scope["portico.request_id"].encode()), *_SAFE]
        if not scope["portico.from_page"]:
            self._headers.append(_VARY)  # a page's own request gets it, and all else, from the CORS middleware
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
                headers.append((b"cache-control", b"no-store"))  # what one caller may see is not for a shared cache
            message["headers"] = headers
            self.streams_events = any(
                name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers
            )
            self._unfinished = self.streams_events
        elif self._unfinished:
            self._unfinished = message.get("more_body", False)
        await self._send(message)

    async def end_stream(self) -> None:
        """Finish an event stream that was ended from here: its reader sees an end, not a broken connection."""
        if self._unfinished:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})
