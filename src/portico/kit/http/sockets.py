"""WebSocket routes: authorization and problems as in other routes; they close when the caller loses access."""

import asyncio
from typing import Annotated, Any

from fastapi import Depends
from fastapi.routing import APIWebSocketRoute
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from portico.kit._compat.fastapi import resolved
from portico.kit.auth.tokens import InvalidToken
from portico.kit.auth.verification import VerificationUnavailable
from portico.kit.foundation.problems import BadRequest, Forbidden, GatewayTimeout, Problem
from portico.kit.http.authentication import TICKET, Authentication
from portico.kit.http.context import HttpContext
from portico.kit.http.error_handling import ErrorResponder
from portico.kit.http.live import INTERNAL_ERROR, NORMAL, REFUSED, RESTARTING, ClientGone, LiveSocket
from portico.kit.http.problems import MEDIA_TYPE, problem_bytes
from portico.kit.http.query_parameters import Queries
from portico.kit.http.router import Route
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_SERVER_ERROR = 500


class OriginRefused(Forbidden):
    """The origin is not allowed. Otherwise a page of another site could read the stream with its visitor's rights."""

    detail = "Pages of {origin} may not open this WebSocket. Add the origin to CORS_ORIGINS to allow it."

    origin: str


class WebSocketExpected(Problem):
    """An ordinary request was sent to a WebSocket route."""

    status = 400
    code = "websocket_expected"
    detail = "This is a WebSocket. Connect with ws:// or wss:// and a WebSocket client."


class SocketRoute(APIWebSocketRoute):
    """A declared WebSocket route in one system."""

    def __init__(self, declared: Route, context: HttpContext, path: str, **options: Any) -> None:
        super().__init__(path, declared.endpoint, **options)
        self._declared = declared
        self._context = context
        self._errors = ErrorResponder(context.name, context.system.case, declared.errors)
        self._queries = Queries(self.dependant, context.system.case, also=TICKET)
        self._origins = frozenset(context.settings.cors_origins)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection from its handshake until it ends."""
        settings = self._context.settings
        scope["portico.deadline"] = deadline = scope["portico.started_at"] + min(
            scope["portico.time_limit"], self._declared.timeout or settings.request_timeout
        )
        within = asyncio.timeout_at(deadline)  # until the connection is accepted
        socket = LiveSocket(
            receive,
            send,
            case=self._context.system.case,
            within=within,
            max_bytes=settings.message_limit,
            rate=settings.rate_limit_messages,
        )
        scope["portico.socket"] = socket
        try:
            async with within:
                await self._serve(WebSocket(scope, receive, send), socket)
        except Exception as error:  # noqa: BLE001  # every error is sent to the client; unexpected ones are logged
            unexpected = within.expired() and not isinstance(error, Problem)
            await self._end_with_error(scope, socket, GatewayTimeout() if unexpected else error, send)

    async def _serve(self, connection: WebSocket, socket: LiveSocket) -> None:
        scope = connection.scope
        await socket.begin()
        if "\0" in scope["path"]:
            raise BadRequest(reason="the path must not contain the character U+0000")
        self._check_origin(connection)
        authentication: Authentication = scope["portico.authentication"]
        if (ticket := connection.query_params.get(TICKET)) is not None:
            authentication.use_ticket(ticket)
        await authentication.authorize(self._declared.access)
        if raw := scope["query_string"]:
            self._queries.check(raw, connection.query_params)
        caller = authentication.principal.subject if authentication.principal else "-"
        with self._context.sockets.slot(caller):
            async with self._context.reader() as reader:
                scope["portico.reader"] = reader
                await self._run_endpoint(connection, socket)

    async def _run_endpoint(self, connection: WebSocket, socket: LiveSocket) -> None:
        """Run the endpoint until it returns, the client disconnects, the service stops or the caller loses access."""
        async with resolved(connection, self.dependant) as values:
            await self._run_until_first_end(connection, socket, values)

    async def _run_until_first_end(self, connection: WebSocket, socket: LiveSocket, values: dict[str, Any]) -> None:
        ends = [
            asyncio.ensure_future(self._endpoint(values, socket)),
            asyncio.ensure_future(socket.drain()),
            asyncio.ensure_future(self._wait_for_stop(socket)),
            asyncio.ensure_future(self._recheck_access(connection.scope["portico.authentication"], socket)),
        ]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        for end in done:
            end.result()

    async def _endpoint(self, values: dict[str, Any], socket: LiveSocket) -> None:
        await self._declared.endpoint(**values)
        await socket.close(NORMAL)

    async def _wait_for_stop(self, socket: LiveSocket) -> None:
        await self._context.stopping.wait()
        await socket.close(RESTARTING, "the service stops")

    async def _recheck_access(self, authentication: Authentication, socket: LiveSocket) -> None:
        """Check the caller's access again at intervals, because tokens expire and sessions are revoked."""
        while True:
            await asyncio.sleep(self._context.settings.stream_recheck)
            try:
                await authentication.recheck(self._declared.access)
            except VerificationUnavailable:
                logger.info("stream_recheck_failed", service=self._context.name)
            except (InvalidToken, Problem):
                await socket.close(REFUSED, "the token is no longer valid")
                return

    def _check_origin(self, connection: WebSocket) -> None:
        """Raise OriginRefused for a page of another site. WebSockets have no CORS (RFC 6455 section 10.2)."""
        origin = connection.headers.get("origin")
        if origin is None or origin in self._origins:
            return
        host = origin.partition("://")[2]
        if host and host in {connection.headers.get("host"), connection.headers.get("x-forwarded-host")}:
            return
        raise OriginRefused(origin=origin[:255])

    async def _end_with_error(self, scope: Scope, socket: LiveSocket, error: Exception, send: Send) -> None:
        """End a connection after `error`. If it was not accepted yet, send an ordinary response."""
        if isinstance(error, ClientGone):
            return
        problem, errors = self._errors.problem_of(HTTPConnection(scope), error)
        if socket.accepted:
            expected = problem.status < _SERVER_ERROR
            await socket.close(REFUSED if expected else INTERNAL_ERROR, problem.code)
            return
        await refuse_handshake(scope, send, problem, case=self._context.system.case, errors=errors)


async def refuse_handshake(
    scope: Scope, send: Send, problem: Problem, *, case: Any = "snake", errors: list[dict[str, Any]] | None = None
) -> None:
    """Respond to a handshake with a problem if the server supports that, otherwise with a plain 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": REFUSED, "reason": problem.code})
        return
    request_id = scope["portico.request_id"]
    body = problem_bytes(problem, instance=scope["path"], request_id=request_id, case=case, errors=errors)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode()),
        *((name.encode(), value.encode("latin-1", "replace")) for name, value in problem.headers.items()),
    ]
    await send({"type": "websocket.http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


async def _socket(connection: HTTPConnection) -> LiveSocket:
    socket: LiveSocket = connection.scope["portico.socket"]
    return socket


Socket = Annotated[LiveSocket, Depends(_socket)]
"""The WebSocket, in an endpoint declared with `Router.websocket`."""
