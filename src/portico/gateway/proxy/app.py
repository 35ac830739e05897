"""ASGI application of the gateway: executes the policy's decision for each request."""

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from starlette.types import Receive, Scope, Send

from portico.gateway.access_log import AccessObserver, AccessRecord, Outcome
from portico.gateway.decisions import Decision, Forward, MatchedRequest, OwnPage, Preflight, Refuse
from portico.gateway.forwarding import upstream_headers
from portico.gateway.policy import Policy
from portico.gateway.policy_inputs import InputResolver
from portico.gateway.proxy.http import FirstAttempt, HttpExchange
from portico.gateway.proxy.request import CLIENT_GONE, Capacity, Overloaded, ProxyRequest, head_of
from portico.gateway.proxy.responses import Reply, oauth_error_reply, problem_reply, refuse_websocket, send_reply
from portico.gateway.proxy.streams import RelayedStream
from portico.gateway.proxy.websocket import GOING_AWAY, WebSocketBridge
from portico.gateway.request_head import RequestHead
from portico.gateway.request_ids import request_ids_of
from portico.gateway.upstreams.base import HandshakeRefused, Upstream, UpstreamRequest
from portico.kit.calls.errors import CallFailed
from portico.kit.calls.problems import problem_of
from portico.kit.calls.retries import RetryBudget
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.ip_addresses import address_key
from portico.kit.foundation.problems import BadRequest, ContentTooLarge, Problem
from portico.kit.foundation.shares import Shares, share_of
from portico.kit.http.request_body import BodyReceiver
from portico.kit.http.schema import Case
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.logs import get_logger
from portico.kit.telemetry.traces import Span, Tracing

logger = get_logger(__name__)

SERVICE = "gateway"
SWITCHING_PROTOCOLS = 101
REFUSAL_HEADERS = frozenset((b"content-type", b"www-authenticate", b"retry-after"))

Page = Callable[[RequestHead], Awaitable[Reply]]
RETRY_BURST = 100
"""Maximum retry budget of a service. An instance that exits breaks all of its requests in flight at once."""


class ProxyApp:
    """ASGI application that executes the policy's decision for each HTTP request and each WebSocket.

    Args:
        policy: Decides about each request.
        upstreams: The services by name.
        resolver: Resolves the policy's inputs: the caller and the rate limit's verdict.
        pages: The gateway's own pages by name.
        clock: Source of the time.
        case: Case of JSON member names in problems.
        observer: Receives the access record of each request.
        tracing: Starts the spans.
        capacity: Maximum concurrency; further requests are refused with 503 or 429.
    """

    def __init__(
        self,
        policy: Policy,
        upstreams: Mapping[str, Upstream],
        resolver: InputResolver,
        *,
        pages: Mapping[str, Page],
        clock: Clock,
        observer: AccessObserver,
        tracing: Tracing,
        capacity: Capacity,
        case: Case = "snake",
    ) -> None:
        self.policy = policy
        self.upstreams = upstreams
        self.resolver = resolver
        self._pages = pages
        self.clock = clock
        self._case: Case = case
        self.observer = observer
        self.tracing = tracing
        self._bodies = capacity.bodies
        self.slots = {
            is_stream: Shares(limit, share_of(limit, capacity.client_share), full=Overloaded)
            for is_stream, limit in ((False, capacity.requests), (True, capacity.streams))
        }
        self.budgets = {service: RetryBudget(burst=RETRY_BURST) for service in upstreams}
        self._open: set[HttpExchange | WebSocketBridge | RelayedStream] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = self._read(scope, receive, send)
        handle, refuse = (
            (self._handle_http, self._refuse)
            if scope["type"] == "http"
            else (self._handle_websocket, self._refuse_websocket)
        )
        await self._run(request, self._serve(request, handle), refuse, time.perf_counter())

    async def resume(
        self, request: ProxyRequest, decision: Forward, first: FirstAttempt, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Continue a request that the fast plane began. The decision is made, and the request holds a slot.

        Args:
            request: The request, without its ASGI connection.
            decision: Where it is forwarded to.
            first: The attempt of the fast plane.
            scope: The ASGI scope.
            receive: The ASGI `receive`.
            send: The ASGI `send`.
        """
        request.scope, request.receive, request.send = scope, receive, send
        request_context.set(RequestContext(SERVICE, request.ids.request_id, request.ids.span.context))
        await self._run(request, self._forward_placed(request, decision, first), self._refuse, first.began)

    async def _forward_placed(self, request: ProxyRequest, decision: Forward, first: FirstAttempt) -> None:
        release = partial(self.slots[False].release, address_key(decision.client))
        try:
            await self._forward(request, decision, first)
        finally:
            if request.stream is None:
                release()
            else:
                request.release = release

    async def _run(
        self,
        request: ProxyRequest,
        work: Awaitable[None],
        refuse: Callable[[ProxyRequest, Problem], Awaitable[None]],
        began: float,
    ) -> None:
        try:
            await work
        except Problem as problem:
            await refuse(request, problem)
        except Exception:
            logger.exception("request_failed", request_id=request.ids.request_id, path=request.access.path)
            if request.access.status:
                raise
            await refuse(request, Problem())
        finally:
            if request.stream is None:
                self.record(request.access, request.ids.span, began)
            else:
                self._record_at_its_end(request, request.stream, began)

    def stop(self) -> None:
        """End event streams and WebSockets. Other requests continue to their end."""
        for exchange in tuple(self._open):
            exchange.stop()

    def record(self, access: AccessRecord, span: Span, began: float) -> None:
        """Record a finished request."""
        access.seconds = time.perf_counter() - began
        span.end(route=access.route, status=access.status)
        self.observer.record(access)

    def _record_at_its_end(self, request: ProxyRequest, stream: RelayedStream, began: float) -> None:
        """Record a request when its stream ends. Keep only the necessary data until then."""
        access, span, release = request.access, request.ids.span, request.release
        self._open.add(stream)

        def ended(outcome: Outcome) -> None:
            self._open.discard(stream)
            release()
            access.outcome = outcome.value
            self.record(access, span, began)

        stream.on_end(ended)

    def _read(self, scope: Scope, receive: Receive, send: Send) -> ProxyRequest:
        head = head_of(scope)
        ids = request_ids_of(head, self.tracing, own=self.policy.own)
        path = head.path.decode("ascii", "replace")
        trace_id = ids.span.context.trace_id
        access = AccessRecord(head.method, path, ids.request_id, trace_id, head.peer)
        # Each request has its own task, so the variable needs no reset.
        request_context.set(RequestContext(SERVICE, ids.request_id, ids.span.context))
        added = [(b"x-request-id", ids.request_id.encode())]
        return ProxyRequest(head, ids, access, added, None, scope, receive, send)

    async def _serve(self, request: ProxyRequest, handle: Callable[[ProxyRequest, Decision], Awaitable[None]]) -> None:
        """Decide about the request and execute the decision. Raises Overloaded, TooManyAtOnce."""
        matched = self.policy.match(request.head)
        request.route = matched.route if isinstance(matched, MatchedRequest | Refuse) else None
        if not isinstance(matched, Preflight):
            any_origin = request.route is not None and request.route.any_origin
            request.added.extend(self.policy.cors.response_headers(request.head.headers, any_origin=any_origin))
        if not isinstance(matched, MatchedRequest):
            await handle(request, matched)
            return
        request.access.route, request.access.client = matched.route.path, matched.client
        slots = self.slots[matched.route.streams]
        holder = address_key(matched.client)
        with slots.slot(holder):
            await handle(request, await self._settle(request, matched))
            if request.stream is not None:
                slots.resume(holder)  # until the stream ends
                request.release = partial(slots.release, holder)

    async def _settle(self, request: ProxyRequest, matched: MatchedRequest) -> Decision:
        access = request.access
        inputs = await self.resolver.resolve(matched)
        if inputs.caller.principal is not None:
            access.caller = inputs.caller.principal.subject
        if inputs.verdict is not None:
            access.rate_limited = not inputs.verdict.allowed
            request.added.extend(inputs.verdict.fields())
        return self.policy.settle(matched, inputs, self.clock.now().timestamp())

    async def _handle_http(self, request: ProxyRequest, decision: Decision) -> None:
        match decision:
            case Forward():
                await self._forward(request, decision)
            case Refuse(problem):
                raise problem
            case Preflight(headers):
                request.access.route = "preflight"
                await self._reply(request, Reply(204, headers))
            case OwnPage(name):
                request.access.route = "own"
                await self._reply(request, await self._pages[name](request.head))

    async def _forward(self, request: ProxyRequest, decision: Forward, first: FirstAttempt | None = None) -> None:
        access, service = request.access, decision.route.service
        access.service = service
        headers = upstream_headers(request.head, decision, request.ids, self.policy.proxies)
        exchange = HttpExchange(
            request.head,
            decision,
            self.upstreams[service],
            receive=self._receive(request, decision),
            send=request.send,
            budget=self.budgets[service],
            first=first,
        )
        self._open.add(exchange)
        try:
            outcome = await exchange.run(headers, request.added)
            access.outcome = outcome.value
            request.stream = exchange.stream
        finally:
            self._open.discard(exchange)
            access.status = exchange.status
            access.upstream_seconds, access.attempts = exchange.upstream_seconds, exchange.attempts
        if outcome is Outcome.CLIENT_GONE and not exchange.status:
            access.status = CLIENT_GONE

    def _receive(self, request: ProxyRequest, decision: Forward) -> Receive:
        if not decision.fields.has_body:
            return request.receive
        slots = self.slots[decision.route.streams]
        return BodyReceiver(request.receive, self._bodies, lambda: address_key(decision.client), slots)

    async def _handle_websocket(self, request: ProxyRequest, decision: Decision) -> None:
        await request.receive()  # websocket.connect
        if isinstance(decision, Forward):
            await self._forward_websocket(request, decision)
        elif isinstance(decision, Refuse):
            raise decision.problem

    async def _forward_websocket(self, request: ProxyRequest, decision: Forward) -> None:
        access, head, service = request.access, request.head, decision.route.service
        access.service = service
        headers = upstream_headers(head, decision, request.ids, self.policy.proxies)
        offered = request.scope.get("subprotocols") or []
        upgrade = UpstreamRequest("GET", head.path, head.query, headers, decision.timeout, subprotocols=list(offered))
        try:
            websocket = await self.upstreams[service].connect(upgrade)
        except HandshakeRefused as refused:
            await self._forward_refusal(request, refused)
            return
        except CallFailed as failure:
            raise problem_of(failure) from failure
        access.status = SWITCHING_PROTOCOLS
        bridge = WebSocketBridge(websocket, request.receive, request.send)
        self._open.add(bridge)
        try:
            accepted = {"type": "websocket.accept", "subprotocol": websocket.subprotocol}
            await request.send({**accepted, "headers": request.added})
            await bridge.run()
        except OSError:  # the client disconnected before its handshake was accepted
            access.status = CLIENT_GONE
            await websocket.aclose(GOING_AWAY, "")
        finally:
            self._open.discard(bridge)

    async def _forward_refusal(self, request: ProxyRequest, refused: HandshakeRefused) -> None:
        request.access.status = refused.status
        reply = Reply(refused.status, [field for field in refused.headers if field[0] in REFUSAL_HEADERS], refused.body)
        await refuse_websocket(request.scope, request.send, reply, request.added)

    async def _reply(self, request: ProxyRequest, reply: Reply) -> None:
        request.access.status = reply.status
        await send_reply(request.send, reply, request.added)

    def _problem(self, request: ProxyRequest, problem: Problem) -> Reply:
        request.access.status = problem.status
        if request.route is not None and request.route.oauth_errors:
            return oauth_error_reply(problem)
        return problem_reply(problem, path=request.head.path, request_id=request.ids.request_id, case=self._case)

    async def _refuse(self, request: ProxyRequest, problem: Problem) -> None:
        reply = self._problem(request, problem)
        is_unread = isinstance(problem, ContentTooLarge) and request.access.service is not None
        if is_unread or isinstance(problem, BadRequest):
            # The rest of the body was not read, or the request could be read differently (RFC 9112 section 11.2).
            reply.headers.append((b"connection", b"close"))
        await send_reply(request.send, reply, request.added)

    async def _refuse_websocket(self, request: ProxyRequest, problem: Problem) -> None:
        await refuse_websocket(request.scope, request.send, self._problem(request, problem), request.added)
