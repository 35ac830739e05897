"""Forwarding of one HTTP request. The request body and the response body are streamed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NoReturn, Self

from starlette.types import Receive, Send

from portico.gateway.access_log import Outcome
from portico.gateway.decisions import Forward
from portico.gateway.forwarding import client_headers
from portico.gateway.proxy.streams import RelayedStream
from portico.gateway.request_head import Header, RequestHead
from portico.gateway.upstreams.base import RequestBodyBroken, Upstream, UpstreamRequest, UpstreamResponse
from portico.kit.calls.breaker import is_proxy_error
from portico.kit.calls.errors import BreakerOpen, CallFailed, ConnectionLost, Unreachable
from portico.kit.calls.problems import problem_of
from portico.kit.calls.retries import RetryBudget
from portico.kit.foundation.problems import ContentTooLarge, Problem
from portico.kit.http.stream_connections import hand_over

# Seconds after which the gateway watches for a client disconnect. A task for each short request would cost too much.
WATCH_AFTER = 0.1
MAX_ATTEMPTS = 3
EVENT_STREAM = b"text/event-stream"


@dataclass(slots=True)
class FirstAttempt:
    """An attempt to forward a request that the fast plane made before this exchange.

    Args:
        began: Its start, by `time.perf_counter`.
        tried: The instance that was tried, if any.
        response: Waits for the response like `Upstream.send`, and raises the same errors; None if nothing was tried.
    """

    began: float
    tried: set[str] = field(default_factory=set)
    response: Callable[[UpstreamRequest], Awaitable[UpstreamResponse]] | None = None


class HttpExchange:
    """One request to a service and its response. `status` is 0 until the response begins.

    After `run`, `stream` is the rest of an event stream that continues without this exchange, if any.

    Args:
        head: The request.
        decision: The service and the limits.
        upstream: The service.
        receive: The client's ASGI `receive`.
        send: The client's ASGI `send`.
        budget: Limits retries.
        first: The attempt of the fast plane; None if there was none.
    """

    def __init__(
        self,
        head: RequestHead,
        decision: Forward,
        upstream: Upstream,
        *,
        receive: Receive,
        send: Send,
        budget: RetryBudget,
        first: FirstAttempt | None = None,
    ) -> None:
        self.status = 0
        self.is_stream = False
        self.stream: RelayedStream | None = None
        self.attempts = 0
        self.upstream_seconds = 0.0
        self._head = head
        self._decision = decision
        self._upstream = upstream
        self._receive = receive
        self._send = send
        self._budget = budget
        self._first = first
        self._loop = asyncio.get_running_loop()
        self._body = RequestBody(receive, decision.body_limit, self._body_broken) if decision.fields.has_body else None
        self._scope = asyncio.timeout(None)
        self._interruption = Outcome.STALLED
        self._may_interrupt = False
        self._stopping = False
        self._watcher: asyncio.TimerHandle | asyncio.Task[None] | None = None

    async def run(self, headers: list[Header], added: Iterable[Header]) -> Outcome:
        """Forward the request and its response.

        Args:
            headers: Header fields for the service.
            added: Header fields that the gateway adds to the response.

        Raises:
            Problem: the request failed before the response began.
        """
        self._watcher = self._loop.call_later(WATCH_AFTER, self._watch)
        try:
            async with self._scope:
                self._may_interrupt = True
                try:
                    return await self._exchange(headers, added)
                finally:
                    self._may_interrupt = False
        except TimeoutError:
            return await self._interrupted()
        except CallFailed as failure:
            return await self._failed(failure)
        finally:
            self._watcher.cancel()

    async def _exchange(self, headers: list[Header], added: Iterable[Header]) -> Outcome:
        response = await self._request_upstream(headers)
        try:
            return await self._relay(response, added)
        finally:
            if self.stream is None:
                await response.aclose()

    def stop(self) -> None:
        """End the response if it is a stream, even if it begins later, because the gateway shuts down."""
        self._stopping = True
        if self.is_stream:
            self._interrupt(Outcome.STOPPED)

    # Request

    async def _request_upstream(self, headers: list[Header]) -> UpstreamResponse:
        head, decision = self._head, self._decision
        first = self._first or FirstAttempt(
            time.perf_counter()
        )  # the event loop's clock may have millisecond resolution
        began, tried, send = first.began, first.tried, first.response
        self._budget.record_call()
        while True:
            remaining = max(began + decision.timeout - time.perf_counter(), 0.001)
            request = UpstreamRequest(head.method, head.path, head.query, headers, remaining, self._body)
            self.attempts += 1
            try:
                response = await (self._upstream.send(request, tried) if send is None else send(request))
            except CallFailed as failure:
                if not self._may_retry(failure):
                    raise
                send = None
                continue
            if not (
                is_proxy_error(response.status, response.headers)
                and self._upstream.has_alternatives
                and self._may_retry(None)
            ):
                self.upstream_seconds = time.perf_counter() - began
                return response
            send = None
            await response.aclose()

    def _may_retry(self, failure: CallFailed | None) -> bool:
        """Return whether to try another instance: nothing was sent, or the request is safe (RFC 9110 section 9.2.2)."""
        if self.attempts >= MAX_ATTEMPTS or isinstance(failure, BreakerOpen):
            return False
        if isinstance(failure, Unreachable):
            if not self._upstream.has_alternatives or (self._body is not None and self._body.begun):
                return False
        elif not self._decision.is_repeatable or not isinstance(failure, ConnectionLost | None):
            return False
        return self._budget.spend()

    # Response

    async def _relay(self, response: UpstreamResponse, added: Iterable[Header]) -> Outcome:
        headers = client_headers(response.headers, added)
        length = _length(response, self._head.method)
        self.is_stream = self._decision.route.streams or _is_event_stream(headers)
        self.status = response.status
        if self._stopping:
            self.stop()
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
        if self._body is None and length is None and _is_event_stream(headers) and self._hand_over(response):
            return Outcome.COMPLETE
        sent, finished = 0, False
        async with aclosing(response.chunks()) as chunks:
            async for chunk in chunks:
                if not self.is_stream and self._interruption is Outcome.STALLED:
                    self._scope.reschedule(self._loop.time() + self._decision.timeout)
                sent += len(chunk)
                finished = sent == length
                await self._send({"type": "http.response.body", "body": chunk, "more_body": not finished})
        if length is not None and sent < length:
            return Outcome.BROKEN
        if not finished:
            await self._finish()
        return Outcome.COMPLETE

    def _hand_over(self, response: UpstreamResponse) -> bool:
        """Let the service write to the client without this exchange. Return whether both connections support that."""
        if self._stopping or not response.may_redirect:
            return False
        stream = RelayedStream()
        client = hand_over(self._send, stream)
        if client is None:
            return False
        self.stream = stream
        stream.connect(client, response.redirect)
        return True

    async def _finish(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    # Interruptions

    def _watch(self) -> None:
        """Start watching for a client disconnect. While the body is being received, RequestBody detects it."""
        if self._body is None or self._body.finished:
            self._watcher = self._loop.create_task(self._watch_for_disconnect())
        else:
            self._watcher = self._loop.call_later(WATCH_AFTER, self._watch)

    async def _watch_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._interrupt(Outcome.CLIENT_GONE)

    def _body_broken(self) -> None:
        refused = self._body is not None and self._body.problem is not None
        self._interrupt(Outcome.BODY_REFUSED if refused else Outcome.CLIENT_GONE)

    def _interrupt(self, outcome: Outcome) -> None:
        """End the exchange, unless it has ended or is ending. Its service may still read the body."""
        if self._may_interrupt and self._interruption is Outcome.STALLED and not self._scope.expired():
            self._interruption = outcome
            self._scope.reschedule(self._loop.time())

    async def _interrupted(self) -> Outcome:
        if self._body is not None and self._body.problem is not None and not self.status:
            raise self._body.problem
        if self._interruption is Outcome.STOPPED:
            await self._finish()
        return self._interruption

    async def _failed(self, failure: CallFailed) -> Outcome:
        if self._interruption is not Outcome.STALLED:
            return await self._interrupted()
        if self.status:
            return Outcome.BROKEN
        raise problem_of(failure) from failure


def _length(response: UpstreamResponse, method: str) -> int | None:
    """Return the length of the response body (RFC 9112 section 6.3); None if it is not known in advance."""
    if method == "HEAD" or response.status in {204, 304}:
        return None
    for name, value in response.headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None


def _is_event_stream(headers: list[Header]) -> bool:
    return any(name == b"content-type" and value.startswith(EVENT_STREAM) for name, value in headers)


class RequestBody:
    """The request body as a stream; buffers one chunk at a time.

    Args:
        receive: The client's ASGI `receive`; it may raise a Problem.
        limit: Maximum size in bytes.
        on_broken: Called when the body cannot be completed.
    """

    __slots__ = ("_limit", "_on_broken", "_receive", "_size", "begun", "broken", "finished", "problem")

    def __init__(self, receive: Receive, limit: int, on_broken: Callable[[], None]) -> None:
        self._receive = receive
        self._limit = limit
        self._on_broken = on_broken
        self._size = 0
        self.begun = False
        self.broken = False
        self.finished = False
        self.problem: Problem | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self.begun = True
        while not self.finished:
            try:
                message = await self._receive()
            except Problem as problem:
                self._break(problem)
            if message["type"] == "http.disconnect":
                self._break()
            chunk: bytes = message.get("body", b"")
            self._size += len(chunk)
            if self._size > self._limit:
                self._break(ContentTooLarge(limit=self._limit))
            self.finished = not message.get("more_body", False)
            if chunk:
                return chunk
        raise StopAsyncIteration

    def _break(self, problem: Problem | None = None) -> NoReturn:
        self.broken = True
        self.problem = problem
        self._on_broken()
        raise RequestBodyBroken
