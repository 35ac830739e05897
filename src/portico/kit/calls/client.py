"""Typed clients: how one service calls another."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, TypedDict, TypeVar, Unpack, overload, runtime_checkable
from urllib.parse import urlencode

from portico.kit.calls.channel import IDEMPOTENT, Channel, Headers, Incoming, Outgoing
from portico.kit.calls.encoding import checked_path, decode, encode_json, encode_query, refusal
from portico.kit.calls.errors import AnswerInvalid, CalledInTransaction, CallFailed, CallTimedOut
from portico.kit.data.unit_of_work import current_unit_of_work
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Tracing

T = TypeVar("T")
C = TypeVar("C", bound="Client")

_UNAUTHORIZED = 401
_AT_THE_ROOT = ("/.well-known/", "/health", "/metrics")  # whatever a system's prefix
_FORM = b"application/x-www-form-urlencoded"


@runtime_checkable
class Renewable(Protocol):
    """An identity that can get another token in place of one that was refused."""

    async def __call__(self) -> str | None: ...

    def forget(self, token: str) -> None: ...


Identity = str | Renewable | Callable[[], Awaitable[str | None]] | None
"""On whose behalf a call is made: an access token, or what gets one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a system differs from the next in the eyes of a caller.

    Attributes:
        prefix: Before every path of a resource, such as `/api`.
        names: What it calls the services that have another name of their own.
    """

    prefix: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def name(self, service: str) -> str:
        return self.names.get(service, service)

    def path(self, path: str) -> str:
        return path if path.startswith(_AT_THE_ROOT) else self.prefix + path


PLAIN = Layout()
NO_TRACING = Tracing.off()


class Options(TypedDict, total=False):
    """What a call may say.

    Attributes:
        params: The query; None values are left out, lists are repeated.
        json: The body: a model, or what is made of models and plain values.
        form: The body, as a form.
        key: The idempotency key: the call takes effect once, however often it is sent.
        only_reads: A POST that changes nothing may be sent again as a GET may.
        probe: See `Outgoing`.
        timeout: Seconds for this call, where less than the deadline leaves.
    """

    params: Mapping[str, Any]
    json: Any
    form: Mapping[str, str]
    key: str
    only_reads: bool
    probe: bool
    timeout: float


class Calls:
    """Calls to other services on one occasion: a request, an event, a step of a saga.

    `calls(ProductsClient)` is a client that carries who asks, the trace and the deadline of the occasion.

    Args:
        channel: The way to other services.
        identity: On whose behalf.
        request_id: For `X-Request-ID`.
        trace: Where in which trace the occasion is; each call is a span in it.
        tracing: Begins the spans.
        deadline: When the occasion ends, in the event loop's time.
        key: What makes the occasion's effects happen once: its first POST or PATCH carries `key/1`, the next `key/2`.
        layout: The prefix and names of the system.
        timeout: Seconds for a call where there is no deadline or a later one.

    Attributes:
        in_doubt: A call was answered only after an attempt that nobody saw the end of, and that may still take effect.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        identity: Identity = None,
        request_id: str | None = None,
        trace: TraceContext | None = None,
        tracing: Tracing = NO_TRACING,
        deadline: float | None = None,
        key: str | None = None,
        layout: Layout = PLAIN,
        timeout: float = 10.0,
    ) -> None:
        self._channel = channel
        self._identity = identity
        self._deadline = deadline
        self._key = key
        self._keyed = 0
        self._layout = layout
        self._timeout = timeout
        self.in_doubt = False
        self._headers: Headers = []
        if request_id is not None:
            self._headers.append((b"x-request-id", request_id.encode("latin-1")))
        self._trace = trace
        self._tracing = tracing

    def __call__(self, client: type[C]) -> C:
        return client(self)

    async def send(self, service: str, method: str, path: str, options: Options) -> Incoming:
        """Call a service and give its answer, any status.

        Raises:
            CalledInTransaction: A unit of work of this task has a transaction open.
            CallFailed: No usable answer came.
        """
        work = current_unit_of_work.get()
        if work is not None and work.began:
            raise CalledInTransaction(service)
        out = self._outgoing(service, method, path, options)
        token = await self._token(out)
        answer = await self._sent(out, token)
        if answer.status == _UNAUTHORIZED and token is not None and isinstance(self._identity, Renewable):
            self._identity.forget(token)  # its signing key may be gone; nothing was done yet, so this is no retry
            answer = await self._sent(out, await self._token(out))
        return answer

    async def _token(self, out: Outgoing) -> str | None:
        if self._identity is None or isinstance(self._identity, str):
            return self._identity
        try:
            async with asyncio.timeout(self._left(out.service, out.timeout)):
                return await self._identity()
        except TimeoutError:
            raise CallTimedOut(out.service, "the time was up before there was a token to call with") from None

    async def _sent(self, out: Outgoing, token: str | None) -> Incoming:
        headers = out.headers.copy()
        if token is not None:
            headers.append((b"authorization", f"Bearer {token}".encode("latin-1")))
        sent = replace(out, headers=headers, timeout=self._left(out.service, out.timeout))
        answer = await (self._channel.send(sent) if self._trace is None else self._traced(sent, self._trace))
        self.in_doubt |= answer.in_doubt
        return answer

    async def _traced(self, out: Outgoing, trace: TraceContext) -> Incoming:
        span = self._tracing.call(trace, service=out.service, method=out.method, path=out.path)
        out.headers.append((b"traceparent", str(span.context).encode("ascii")))
        try:
            answer = await self._channel.send(out)
        except CallFailed as error:
            span.end(error=type(error).__name__)
            raise
        span.end(status=answer.status)
        return answer

    def _outgoing(self, service: str, method: str, path: str, options: Options) -> Outgoing:
        headers = self._headers.copy()
        body = b""
        if "json" in options:
            body = encode_json(options["json"])
            headers.append((b"content-type", b"application/json"))
        elif "form" in options:
            body = urlencode(options["form"]).encode("ascii")
            headers.append((b"content-type", _FORM))
        key = options.get("key") or self._next_key(method)
        if key is not None:
            headers.append((b"idempotency-key", key.encode("latin-1")))
        return Outgoing(
            service=self._layout.name(service),
            method=method,
            path=self._layout.path(checked_path(path)),
            query=encode_query(options.get("params")),
            headers=headers,
            body=body,
            timeout=min(options.get("timeout", self._timeout), self._timeout),
            repeatable=method in IDEMPOTENT or key is not None or options.get("only_reads", False),
            probe=options.get("probe", False),
        )

    def _next_key(self, method: str) -> str | None:
        if self._key is None or method in IDEMPOTENT:
            return None
        self._keyed += 1
        return f"{self._key}/{self._keyed}"

    def _left(self, service: str, timeout: float) -> float:
        if self._deadline is None:
            return timeout
        left = self._deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise CallTimedOut(service, "the deadline had passed before the call")
        return min(left, timeout)


class Client:
    """Base of a service's typed client, which its contract declares: `class LoansClient(Client, service="loans")`.

    Its methods call `get`, `post` and so on with a path of that service. With `answer=` the body of the answer is read
    as that type; without, there is none to read. All of them raise the errors that `portico.kit.calls.errors` draws:
    Refused for an answer of 4xx or 5xx, CallFailed where none came, CalledInTransaction.
    """

    service: ClassVar[str]

    def __init_subclass__(cls, *, service: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if service is not None:
            cls.service = service

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def ask(self, method: str, path: str, **options: Unpack[Options]) -> Incoming:
        """The whole answer of a call, for one whose headers matter. Raises as the class says."""
        answer = await self._calls.send(self.service, method, path, options)
        if answer.status >= 400:  # noqa: PLR2004 - RFC 9110 section 15
            raise refusal(self.service, answer)
        if answer.status >= 300:  # noqa: PLR2004 - no channel follows redirects
            raise AnswerInvalid(self.service, f"answered {answer.status} to {method} {path}")
        return answer

    async def _read(self, method: str, path: str, answer: Any, options: Options) -> Any:
        incoming = await self.ask(method, path, **options)
        return None if answer is None else decode(self.service, incoming, answer)

    @overload
    async def get(self, path: str, *, answer: type[T], **options: Unpack[Options]) -> T: ...
    @overload
    async def get(self, path: str, *, answer: None = None, **options: Unpack[Options]) -> None: ...
    async def get(self, path: str, *, answer: Any = None, **options: Unpack[Options]) -> Any:
        """Read `path`."""
        return await self._read("GET", path, answer, options)

    @overload
    async def post(self, path: str, *, answer: type[T], **options: Unpack[Options]) -> T: ...
    @overload
    async def post(self, path: str, *, answer: None = None, **options: Unpack[Options]) -> None: ...
    async def post(self, path: str, *, answer: Any = None, **options: Unpack[Options]) -> Any:
        """Post to `path`."""
        return await self._read("POST", path, answer, options)

    @overload
    async def put(self, path: str, *, answer: type[T], **options: Unpack[Options]) -> T: ...
    @overload
    async def put(self, path: str, *, answer: None = None, **options: Unpack[Options]) -> None: ...
    async def put(self, path: str, *, answer: Any = None, **options: Unpack[Options]) -> Any:
        """Put to `path`."""
        return await self._read("PUT", path, answer, options)

    @overload
    async def patch(self, path: str, *, answer: type[T], **options: Unpack[Options]) -> T: ...
    @overload
    async def patch(self, path: str, *, answer: None = None, **options: Unpack[Options]) -> None: ...
    async def patch(self, path: str, *, answer: Any = None, **options: Unpack[Options]) -> Any:
        """Change `path`."""
        return await self._read("PATCH", path, answer, options)

    @overload
    async def delete(self, path: str, *, answer: type[T], **options: Unpack[Options]) -> T: ...
    @overload
    async def delete(self, path: str, *, answer: None = None, **options: Unpack[Options]) -> None: ...
    async def delete(self, path: str, *, answer: Any = None, **options: Unpack[Options]) -> Any:
        """Delete `path`."""
        return await self._read("DELETE", path, answer, options)
