"""WebSockets: the same declarations of who may call, the same problems, and an end for whoever should no longer listen."""

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import Depends
from fastapi.dependencies.utils import solve_dependencies
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIWebSocketRoute
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from portico.kit.auth.tokens import InvalidToken
from portico.kit.auth.verification import VerificationUnavailable
from portico.kit.foundation.problems import BadRequest, Forbidden, GatewayTimeout, Problem
from portico.kit.http.authentication import TICKET, Authentication
from portico.kit.http.context import HttpContext
from portico.kit.http.error_handling import ErrorResponder
from portico.kit.http.live import INTERNAL_ERROR, NORMAL, REFUSED, RESTARTING, LiveSocket, Unheard
from portico.kit.http.problems import MEDIA_TYPE, problem_bytes
from portico.kit.http.query_parameters import Queries
from portico.kit.http.router import Route
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_UNFORESEEN = 500


class OriginRefused(Forbidden):
    """A page of a site that is not ours would listen with the rights of whoever looks at it."""

    detail = "Pages of {origin} may not open this. CORS_ORIGINS says which sites may."

    origin: str


class WebSocketExpected(Problem):
    """An ordinary request came to where a WebSocket is."""

    status = 400
    code = "websocket_expected"
    detail = "This is a WebSocket: open it by ws:// or wss:// with a client that speaks it."


class SocketRoute(APIWebSocketRoute):
    """A declared WebSocket as one system serves it."""

    def __init__(self, declared: Route, context: HttpContext, path: str, **options: Any) -> None:
        super().__init__(path, declared.endpoint, **options)
        self._declared = declared
        self._context = context
        self._errors = ErrorResponder(context.name, context.system.case)
        self._queries = Queries(self.dependant, context.system.case, also=TICKET)
        self._origins = frozenset(context.settings.cors_origins)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection from its handshake to its end."""
        settings = self._context.settings
        scope["portico.deadline"] = deadline = scope["portico.began"] + min(
            scope["portico.patience"], self._declared.timeout or settings.request_timeout
        )
        within = asyncio.timeout_at(deadline)  # until it is accepted
        socket = LiveSocket(
            receive,
            send,
            case=self._context.system.case,
            within=within,
            longest=settings.message_limit,
            rate=settings.rate_limit_messages,
        )
        scope["portico.socket"] = socket
        try:
            async with within, AsyncExitStack() as stack:
                scope["fastapi_inner_astack"] = scope["fastapi_function_astack"] = stack
                await self._serve(WebSocket(scope, receive, send), socket, stack)
        except Exception as error:  # noqa: BLE001  whatever goes wrong is told here, and logged where nobody foresaw it
            unforeseen = within.expired() and not isinstance(error, Problem)
            await self._tell(scope, socket, GatewayTimeout() if unforeseen else error, send)

    async def _serve(self, connection: WebSocket, socket: LiveSocket, stack: AsyncExitStack) -> None:
        scope = connection.scope
        await socket.begin()
        if "\0" in scope["path"]:
            raise BadRequest(reason="the path must not hold the character U+0000")
        self._check_origin(connection)
        authentication: Authentication = scope["portico.authentication"]
        if (ticket := connection.query_params.get(TICKET)) is not None:
            authentication.offer_ticket(ticket)
        await authentication.admit(self._declared.access)
        if raw := scope["query_string"]:
            self._queries.check(raw, connection.query_params)
        caller = authentication.principal.subject if authentication.principal else "-"
        with self._context.sockets.one_of(caller):
            async with self._context.reader() as reader:
                scope["portico.reader"] = reader
                await self._listen(connection, socket, stack)

    async def _listen(self, connection: WebSocket, socket: LiveSocket, stack: AsyncExitStack) -> None:
        """Run the endpoint until it, the client, the service or the caller's token ends."""
        found = await solve_dependencies(
            request=connection, dependant=self.dependant, async_exit_stack=stack, embed_body_fields=False
        )
        if found.errors:
            raise RequestValidationError(found.errors)
        ends = [
            asyncio.ensure_future(self._endpoint(found.values, socket)),
            asyncio.ensure_future(socket.drain()),
            asyncio.ensure_future(self._stopping(socket)),
            asyncio.ensure_future(self._standing(connection.scope["portico.authentication"], socket)),
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

    async def _stopping(self, socket: LiveSocket) -> None:
        await self._context.stopping.wait()
        await socket.close(RESTARTING, "the service stops")

    async def _standing(self, authentication: Authentication, socket: LiveSocket) -> None:
        """Look from time to time whether the caller may still listen: a token ends, and sessions do."""
        while True:
            await asyncio.sleep(self._context.settings.stream_recheck)
            try:
                await authentication.look_again(self._declared.access)
            except VerificationUnavailable:
                logger.info("stream_recheck_failed", service=self._context.name)
            except (InvalidToken, Problem):
                await socket.close(REFUSED, "the token is no longer valid")
                return

    def _check_origin(self, connection: WebSocket) -> None:
        """Raises OriginRefused for a page of a site that may not call: WebSockets know no CORS (RFC 6455 section 10.2)."""
        origin = connection.headers.get("origin")
        if origin is None or origin in self._origins:
            return
        host = origin.partition("://")[2]
        if host and host in {connection.headers.get("host"), connection.headers.get("x-forwarded-host")}:
            return
        raise OriginRefused(origin=origin[:255])

    async def _tell(self, scope: Scope, socket: LiveSocket, error: Exception, send: Send) -> None:
        """End a connection that `error` ended: with an ordinary answer where it was not accepted yet."""
        if isinstance(error, Unheard):
            return
        problem, errors = self._errors.problem_of(HTTPConnection(scope), error)
        if socket.accepted:
            expected = problem.status < _UNFORESEEN
            await socket.close(REFUSED if expected else INTERNAL_ERROR, problem.code)
            return
        await refuse_handshake(scope, send, problem, case=self._context.system.case, errors=errors)


async def refuse_handshake(
    scope: Scope, send: Send, problem: Problem, *, case: Any = "snake", errors: list[dict[str, Any]] | None = None
) -> None:
    """Answer a handshake with a problem, where the server can; else it is refused without a word (403)."""
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
"""The connection, in an endpoint that `Router.websocket` declares."""
