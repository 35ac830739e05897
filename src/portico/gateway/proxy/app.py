"""The gateway's ASGI app, without its lifespan."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from portico.gateway.access_log import Observer, Record
from portico.gateway.decisions import Decision, Forward, Matched, Own, Preflight, Refuse
from portico.gateway.forwarding import fields_for_service
from portico.gateway.policy import Policy
from portico.gateway.policy_inputs import InputResolver
from portico.gateway.problems import Overloaded
from portico.gateway.proxy.heads import head_of
from portico.gateway.proxy.http import End, Exchange
from portico.gateway.proxy.responses import Reply, problem_reply, refuse_socket, send_reply
from portico.gateway.proxy.websocket import Bridge
from portico.gateway.request_head import Header, RequestHead
from portico.gateway.request_ids import RequestIds, request_ids_of
from portico.gateway.upstreams.base import HandshakeRefused, Sending, Upstream
from portico.kit.calls.budget import RetryBudget
from portico.kit.calls.errors import CallFailed
from portico.kit.calls.problems import problem_of
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.problems import ContentTooLarge, Problem
from portico.kit.http.schema import Case
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.logs import get_logger
from portico.kit.telemetry.traces import Tracing

log = get_logger(__name__)

SERVICE = "gateway"
CLIENT_GONE = 499
SWITCHED = 101

Page = Callable[[RequestHead], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much is served at once: requests, and event streams and WebSockets, which last and must not crowd them out."""

    requests: int = 1000
    streams: int = 5000


@dataclass(slots=True)
class _Asked:
    """One request, with both its sides and what is noted of it."""

    scope: Scope
    receive: Receive
    send: Send
    head: RequestHead
    trail: RequestIds
    record: Record
    added: list[Header]


class ProxyApp:
    """Carries out what the policy decides, for each HTTP request and each WebSocket.

    Args:
        policy: Decides.
        upstreams: The services by name.
        finder: Finds out who calls, and how often.
        pages: What the gateway answers itself, by name.
        clock: Tells the time.
        case: How the system spells its problems.
        observer: Is told of each request.
        tracing: Begins the spans.
        capacity: How much is served at once; one more is refused with 503.
    """

    def __init__(
        self,
        policy: Policy,
        upstreams: Mapping[str, Upstream],
        finder: InputResolver,
        *,
        pages: Mapping[str, Page],
        clock: Clock,
        observer: Observer,
        tracing: Tracing,
        capacity: Capacity,
        case: Case = "snake",
    ) -> None:
        self._policy = policy
        self._upstreams = upstreams
        self._finder = finder
        self._pages = pages
        self._clock = clock
        self._case: Case = case
        self._observer = observer
        self._tracing = tracing
        self._most = {False: capacity.requests, True: capacity.streams}
        self._budgets = {service: RetryBudget() for service in upstreams}
        self._in_flight = {False: 0, True: 0}
        self._open: set[Exchange | Bridge] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = self._read(scope, receive, send)
        carry, refuse = (self._http, self._refuse) if scope["type"] == "http" else (self._socket, self._refuse_socket)
        began = time.perf_counter()
        try:
            await self._serve(asked, carry)
        except Problem as problem:
            await refuse(asked, problem)
        except Exception:
            log.exception("gateway_failed", request_id=asked.trail.request_id, path=asked.record.path)
            if asked.record.status:
                raise
            await refuse(asked, Problem())
        finally:
            asked.record.seconds = time.perf_counter() - began
            asked.trail.span.end(route=asked.record.route, status=asked.record.status)
            self._observer.finished(asked.record)

    def stop(self) -> None:
        """End what would go on for ever; other requests finish."""
        for passage in self._open:
            passage.stop()

    def _read(self, scope: Scope, receive: Receive, send: Send) -> _Asked:
        head = head_of(scope)
        trail = request_ids_of(head, self._tracing)
        path = head.path.decode("ascii", "replace")
        trace_id = trail.span.context.trace_id
        record = Record(head.method, path, trail.request_id, trace_id, head.peer)
        # Each request has a task of its own, so nobody has to take this back.
        request_context.set(RequestContext(SERVICE, trail.request_id, trail.span.context))
        added = [(b"x-request-id", trail.request_id.encode())]
        return _Asked(scope, receive, send, head, trail, record, added)

    async def _serve(self, asked: _Asked, carry: Callable[[_Asked, Decision], Awaitable[None]]) -> None:
        """Decide, and carry it out, unless as much as can be served is in flight."""
        matched = self._policy.match(asked.head)
        if not isinstance(matched, Preflight):
            asked.added.extend(self._policy.cors.answer_fields(asked.head.headers))
        if not isinstance(matched, Matched):
            await carry(asked, matched)
            return
        asked.record.route, asked.record.client = matched.route.path, matched.client
        lasting = matched.route.streams
        if self._in_flight[lasting] >= self._most[lasting]:
            raise Overloaded
        self._in_flight[lasting] += 1
        try:
            await carry(asked, await self._settle(asked, matched))
        finally:
            self._in_flight[lasting] -= 1

    async def _settle(self, asked: _Asked, matched: Matched) -> Decision:
        record = asked.record
        found = await self._finder.find(matched)
        if found.caller.principal is not None:
            record.caller = found.caller.principal.subject
        if found.verdict is not None:
            record.limited = not found.verdict.allowed
            asked.added.extend(found.verdict.fields())
        return self._policy.settle(matched, found, self._clock.now().timestamp())

    async def _http(self, asked: _Asked, decision: Decision) -> None:
        match decision:
            case Forward():
                await self._forward(asked, decision)
            case Refuse(problem):
                raise problem
            case Preflight(headers):
                asked.record.route = "preflight"
                await self._reply(asked, Reply(204, headers))
            case Own(name):
                asked.record.route = "own"
                await self._reply(asked, await self._pages[name](asked.head))

    async def _forward(self, asked: _Asked, decision: Forward) -> None:
        record, service = asked.record, decision.route.service
        record.service = service
        headers = fields_for_service(asked.head, decision, asked.trail, self._policy.proxies)
        exchange = Exchange(
            asked.head,
            decision,
            self._upstreams[service],
            receive=asked.receive,
            send=asked.send,
            budget=self._budgets[service],
        )
        self._open.add(exchange)
        try:
            end = await exchange.run(headers, asked.added)
            record.end = end.value
        finally:
            self._open.discard(exchange)
            record.status = exchange.status
            record.waited, record.tries = exchange.waited, exchange.tries
        if end is End.CLIENT_GONE and not exchange.status:
            record.status = CLIENT_GONE

    async def _socket(self, asked: _Asked, decision: Decision) -> None:
        await asked.receive()  # websocket.connect
        if isinstance(decision, Forward):
            await self._tunnel(asked, decision)
        elif isinstance(decision, Refuse):
            raise decision.problem

    async def _tunnel(self, asked: _Asked, decision: Forward) -> None:
        record, head, service = asked.record, asked.head, decision.route.service
        record.service = service
        headers = fields_for_service(head, decision, asked.trail, self._policy.proxies)
        offered = asked.scope.get("subprotocols") or []
        sending = Sending("GET", head.path, head.query, headers, decision.timeout, subprotocols=list(offered))
        try:
            tunnel = await self._upstreams[service].connect(sending)
        except HandshakeRefused as refused:
            await self._pass_refusal(asked, refused)
            return
        except CallFailed as failure:
            raise problem_of(failure) from failure
        record.status = SWITCHED
        bridge = Bridge(tunnel, asked.receive, asked.send)
        self._open.add(bridge)
        try:
            accepted = {"type": "websocket.accept", "subprotocol": tunnel.subprotocol}
            await asked.send({**accepted, "headers": asked.added})
            await bridge.run()
        finally:
            self._open.discard(bridge)

    async def _pass_refusal(self, asked: _Asked, refused: HandshakeRefused) -> None:
        asked.record.status = refused.status
        reply = Reply(refused.status, [one for one in refused.headers if one[0] in PASSED_OF_REFUSAL], refused.body)
        await refuse_socket(asked.scope, asked.send, reply, asked.added)

    async def _reply(self, asked: _Asked, reply: Reply) -> None:
        asked.record.status = reply.status
        await send_reply(asked.send, reply, asked.added)

    def _problem(self, asked: _Asked, problem: Problem) -> Reply:
        asked.record.status = problem.status
        return problem_reply(problem, path=asked.head.path, request_id=asked.trail.request_id, case=self._case)

    async def _refuse(self, asked: _Asked, problem: Problem) -> None:
        reply = self._problem(asked, problem)
        if isinstance(problem, ContentTooLarge) and asked.record.service is not None:
            reply.headers.append((b"connection", b"close"))  # the rest of the body has no end that is known
        await send_reply(asked.send, reply, asked.added)

    async def _refuse_socket(self, asked: _Asked, problem: Problem) -> None:
        await refuse_socket(asked.scope, asked.send, self._problem(asked, problem), asked.added)


PASSED_OF_REFUSAL = frozenset((b"content-type", b"www-authenticate", b"retry-after"))
