"""Batched calls: concurrent calls to one endpoint are sent as one request, and each gets its own response.

A typed client names the batch endpoint of a method (`batch="/loans/batch"`), and the called service derives that
endpoint from the single one (`add_batch_route`). Batching is invisible to callers.
"""

import asyncio
import contextvars
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from portico.kit.calls.channel import Incoming, Outgoing
from portico.kit.calls.errors import CallError, ResponseInvalid
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Span

MAX_BATCH = 128
"""Maximum number of calls in one request."""

_OK = 200
_UNKNOWN_ENDPOINT = frozenset({404, 405})
_LAST_STATUS = 599
_HEADERS = ("retry-after",)


@dataclass(eq=False, slots=True)
class BatchableCall:
    """A call that can be sent in a batch.

    Args:
        out: the call.
        path: its path without the prefix of the system.
        send: sends a request on behalf of its caller.
        begin_span: begins the span of the call in the trace of its caller.
    """

    out: Outgoing
    path: str
    send: Callable[[Outgoing], Awaitable[Incoming]]
    begin_span: Callable[[], Span]
    span: Span | None = None
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    answered: asyncio.Future[Incoming] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def succeed(self, answer: Incoming) -> None:
        self._end_span(status=answer.status)
        if not self.answered.done():
            self.answered.set_result(answer)

    def fail(self, error: BaseException) -> None:
        self._end_span(error=type(error).__name__)
        if not self.answered.done():
            self.answered.set_exception(error)

    def _end_span(self, *, status: int | None = None, error: str | None = None) -> None:
        span, self.span = self.span, None
        if span is not None:
            span.end(status=status, error=error)


class CallBatcher:
    """Batches the calls of many tasks with one identity, such as the sagas of a service.

    There is no timer. The calls that tasks make in the same iteration of the event loop are one request. A call that is
    alone is sent unchanged.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[tuple[str, str], list[BatchableCall]] = defaultdict(list)
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, call: BatchableCall, *, batch: str) -> Incoming:
        """Send a call together with concurrent ones, and return its own response.

        Args:
            call: the call.
            batch: path of the batch endpoint, with the prefix of the system.

        Raises:
            CallFailed: there is no usable response, of this call or of the request that contained it.
        """
        if not call.out.repeatable or call.out.query:
            return await call.send(call.out)
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush, context=contextvars.Context())
        self._waiting[call.out.service, batch].append(call)
        return await call.answered

    async def close(self) -> None:
        """Cancel the requests in flight."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _flush(self) -> None:
        batches, self._waiting = self._waiting, defaultdict(list)
        for (_, batch), calls in batches.items():
            waiting = [each for each in calls if not each.answered.done()]
            for start in range(0, len(waiting), MAX_BATCH):
                part = waiting[start : start + MAX_BATCH]
                if len(part) == 1:
                    self._start(self._send_alone(part[0]), part[0].context)
                else:
                    # The request belongs to the trace of its first call, and has links to the spans of all calls.
                    self._start(self._send_batch(batch, part), part[0].context)

    def _start(self, act: Coroutine[Any, Any, None], context: contextvars.Context) -> None:
        task = asyncio.create_task(act, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_alone(self, call: BatchableCall, *, in_doubt: bool = False) -> None:
        try:
            answer = await call.send(call.out)
            answer.in_doubt |= in_doubt
            call.succeed(answer)
        except CallError as error:
            call.fail(error)
        except BaseException as error:
            call.fail(error)
            raise

    async def _send_batch(self, batch: str, calls: Sequence[BatchableCall]) -> None:
        first = calls[0]
        spans = []
        for each in calls:
            each.span = each.begin_span()
            spans.append(each.span.context)
        items = [_item(each, span) for each, span in zip(calls, spans, strict=True)]
        request = Outgoing(
            service=first.out.service,
            method="POST",
            path=batch,
            headers=[each for each in first.out.headers if each[0] != b"idempotency-key"],
            body=orjson.dumps(items),
            timeout=max(each.out.timeout for each in calls),
            repeatable=True,  # each call is
            is_batch=True,
            links=spans,
        )
        if not any(name == b"content-type" for name, _ in request.headers):
            request.headers.append((b"content-type", b"application/json"))
        try:
            answer = await first.send(request)
        except BaseException as error:
            for each in calls:
                each.fail(error if isinstance(error, CallError) else asyncio.CancelledError())
            if not isinstance(error, CallError):
                raise
            return
        self._distribute(answer, calls)

    def _distribute(self, answer: Incoming, calls: Sequence[BatchableCall]) -> None:
        if answer.status in _UNKNOWN_ENDPOINT:  # the service has a version without this endpoint
            for each in calls:
                self._start(self._send_alone(each), each.context)
            return
        if answer.status != _OK:  # the error concerns the whole request
            for each in calls:
                each.succeed(answer)
            return
        answers = _answers(answer, len(calls))
        for each, own in zip(calls, answers or [None] * len(calls), strict=True):
            if answers is None:
                each.fail(ResponseInvalid(each.out.service, "the response to a batch does not match its requests"))
            elif own is None:  # it was not ready in time, and may have had an effect
                self._start(self._send_alone(each, in_doubt=True), each.context)
            else:
                each.succeed(own)


def _item(call: BatchableCall, trace: TraceContext) -> dict[str, Any]:
    headers = {name: value.decode("latin-1") for name, value in call.out.headers}
    return {
        "method": call.out.method,
        "path": call.path,
        "key": headers.get(b"idempotency-key"),
        "trace": str(trace),
        "request_id": headers.get(b"x-request-id"),
        "body": orjson.Fragment(call.out.body) if call.out.body else None,
    }


def _answers(answer: Incoming, count: int) -> list[Incoming | None] | None:
    """Return the response to each call, with None for calls that were not ready; None if the body is not valid."""
    try:
        found = orjson.loads(answer.body)
        answers = [_answer(each, answer) for each in found]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return answers if len(answers) == count else None


def _answer(item: dict[str, Any], whole: Incoming) -> Incoming | None:
    status = item["status"]
    if status is None:
        return None
    if not _OK <= int(status) <= _LAST_STATUS:
        raise ValueError(status)
    headers = [(b"content-type", b"application/json")]
    headers += [(name.encode(), str(item["headers"][name]).encode()) for name in _HEADERS if name in item["headers"]]
    body = b"" if item["body"] is None else orjson.dumps(item["body"])
    return Incoming(int(status), headers, body, in_doubt=whole.in_doubt)
