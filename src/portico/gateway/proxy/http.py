"""One HTTP request carried to its service, and the answer carried back, both as they come."""

import asyncio
import enum
import time
from collections.abc import Iterable
from contextlib import aclosing

from starlette.types import Receive, Send

from portico.gateway.decisions import Forward
from portico.gateway.forwarding import fields_for_client
from portico.gateway.proxy.upload import Upload
from portico.gateway.request_head import Header, RequestHead
from portico.gateway.upstreams.base import Answer, Sending, Upstream
from portico.kit.calls.breaker import is_proxy_error
from portico.kit.calls.budget import RetryBudget
from portico.kit.calls.errors import BreakerOpen, CallFailed, ConnectionLost, Unreachable
from portico.kit.calls.problems import problem_of
from portico.kit.foundation.problems import ContentTooLarge

# A request that is answered sooner is not watched for a client that leaves: a task for each would cost more than it saves.
WATCH_AFTER = 0.1
MOST_TRIES = 3
EVENT_STREAM = b"text/event-stream"


class End(enum.Enum):
    """How an exchange ended."""

    COMPLETE = "complete"
    CLIENT_GONE = "client_gone"
    TOO_LARGE = "too_large"
    STOPPED = "stopped"
    STALLED = "stalled"
    BROKEN = "broken"


class Exchange:
    """Forwards one request. `status` is the answer's as soon as it has begun, else 0.

    Args:
        head: The request.
        decision: Where it goes, and within which limits.
        upstream: The service.
        receive: The client's side.
        send: Likewise.
        budget: Second tries that may be made.
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
    ) -> None:
        self.status = 0
        self.streaming = False
        self.tries = 0
        self.waited = 0.0
        self._head = head
        self._decision = decision
        self._upstream = upstream
        self._receive = receive
        self._send = send
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._upload = Upload(receive, decision.body_limit, self._broken) if decision.fields.has_body else None
        self._scope = asyncio.timeout(None)
        self._why = End.STALLED
        self._stopping = False
        self._watching: asyncio.TimerHandle | asyncio.Task[None] | None = None

    async def run(self, headers: list[Header], added: Iterable[Header]) -> End:
        """Forward.

        Args:
            headers: The fields that the service gets.
            added: The fields that the gateway adds to the answer.

        Raises:
            Problem: What to answer, where nothing was answered yet.
        """
        self._watching = self._loop.call_later(WATCH_AFTER, self._watch)
        try:
            async with self._scope:
                answer = await self._ask(headers)
                try:
                    return await self._relay(answer, added)
                finally:
                    await answer.aclose()
        except TimeoutError:
            return await self._interrupted()
        except CallFailed as failure:
            return await self._failed(failure)
        finally:
            self._watching.cancel()

    def stop(self) -> None:
        """End a stream, because the gateway stops; also one that is about to begin."""
        self._stopping = True
        if self.streaming:
            self._interrupt(End.STOPPED)

    # Up

    async def _ask(self, headers: list[Header]) -> Answer:
        head, decision = self._head, self._decision
        began = time.perf_counter()  # the loop's own clock may count in milliseconds
        tried: set[str] = set()
        self._budget.called()
        while True:
            left = max(began + decision.timeout - time.perf_counter(), 0.001)
            sending = Sending(head.method, head.path, head.query, headers, left, self._upload)
            self.tries += 1
            try:
                answer = await self._upstream.send(sending, tried)
            except CallFailed as failure:
                if not self._may_repeat(failure):
                    raise
                continue
            if not (
                is_proxy_error(answer.status, answer.headers) and self._upstream.several and self._may_repeat(None)
            ):
                self.waited = time.perf_counter() - began
                return answer
            await answer.aclose()

    def _may_repeat(self, failure: CallFailed | None) -> bool:
        """Whether to try another instance: what was never sent, and what changes nothing (RFC 9110 section 9.2.2)."""
        if self.tries >= MOST_TRIES or isinstance(failure, BreakerOpen):
            return False
        if isinstance(failure, Unreachable):
            if not self._upstream.several or (self._upload is not None and self._upload.begun):
                return False
        elif not self._decision.repeatable or not isinstance(failure, ConnectionLost | None):
            return False
        return self._budget.spend()

    # Down

    async def _relay(self, answer: Answer, added: Iterable[Header]) -> End:
        headers = fields_for_client(answer.headers, added)
        length = _length(answer, self._head.method)
        self.streaming = self._decision.route.streams or _is_event_stream(headers)
        self.status = answer.status
        if self._stopping:
            self.stop()
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        seen, finished = 0, False
        async with aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                if not self.streaming:
                    self._scope.reschedule(self._loop.time() + self._decision.timeout)
                seen += len(chunk)
                finished = seen == length
                await self._send({"type": "http.response.body", "body": chunk, "more_body": not finished})
        if length is not None and seen < length:
            return End.BROKEN
        if not finished:
            await self._finish()
        return End.COMPLETE

    async def _finish(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    # What comes between

    def _watch(self) -> None:
        """Begin to watch for a client that leaves; while its body comes, the upload sees to that."""
        if self._upload is None or self._upload.finished:
            self._watching = self._loop.create_task(self._watch_for_leaving())
        else:
            self._watching = self._loop.call_later(WATCH_AFTER, self._watch)

    async def _watch_for_leaving(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._interrupt(End.CLIENT_GONE)

    def _broken(self) -> None:
        too_large = self._upload is not None and self._upload.too_large
        self._interrupt(End.TOO_LARGE if too_large else End.CLIENT_GONE)

    def _interrupt(self, why: End) -> None:
        if self._why is End.STALLED:
            self._why = why
            self._scope.reschedule(self._loop.time())

    async def _interrupted(self) -> End:
        if self._why is End.TOO_LARGE and not self.status:
            raise ContentTooLarge(limit=self._decision.body_limit)
        if self._why is End.STOPPED:
            await self._finish()
        return self._why

    async def _failed(self, failure: CallFailed) -> End:
        if self._why is not End.STALLED:
            return await self._interrupted()
        if self.status:
            return End.BROKEN
        raise problem_of(failure) from failure


def _length(answer: Answer, method: str) -> int | None:
    """How long the body will be (RFC 9112 section 6.3); None where only its end will tell."""
    if method == "HEAD" or answer.status in {204, 304}:
        return None
    for name, value in answer.headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None


def _is_event_stream(headers: list[Header]) -> bool:
    return any(name == b"content-type" and value.startswith(EVENT_STREAM) for name, value in headers)
