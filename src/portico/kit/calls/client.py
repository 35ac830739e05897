"""Typed clients for calls between services."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Protocol, TypedDict, TypeVar, Unpack, overload, runtime_checkable
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from portico.kit.calls.call_batcher import BatchableCall, CallBatcher
from portico.kit.calls.channel import IDEMPOTENT, Channel, Headers, Incoming, Outgoing
from portico.kit.calls.encoding import checked_path, decode, encode_json, encode_query, refused_error
from portico.kit.calls.errors import CalledInTransaction, CallFailed, CallTimedOut, ResponseInvalid
from portico.kit.data.unit_of_work import current_unit_of_work
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Span, Tracing

T = TypeVar("T")
C = TypeVar("C", bound="Client")

_UNAUTHORIZED = 401
_UNPREFIXED = ("/.well-known/", "/health", "/metrics")  # paths without the system's prefix
_FORM = b"application/x-www-form-urlencoded"


@runtime_checkable
class Renewable(Protocol):
    """An identity that can obtain a new token if one is rejected."""

    async def __call__(self) -> str | None: ...

    def forget(self, token: str) -> None: ...


Identity = str | Renewable | Callable[[], Awaitable[str | None]] | None
"""Identity on whose behalf a call is made: an access token, or a function that obtains one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Path prefix and service names of a system.

    Attributes:
        prefix: prefix of resource paths, such as `/api`.
        names: names of services that have another name in this system.
    """

    prefix: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def name(self, service: str) -> str:
        return self.names.get(service, service)

    def path(self, path: str) -> str:
        return path if path.startswith(_UNPREFIXED) else self.prefix + path


class Summary(BaseModel):
    """Base class of models with the fields that a service needs from another's response, in either JSON case.

    Unknown fields are ignored, so that the other service can add fields.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore", frozen=True
    )


DEFAULT_LAYOUT = Layout()
NO_TRACING = Tracing.off()


class Options(TypedDict, total=False):
    """Options of a call.

    Attributes:
        params: the query. None values are left out, lists are repeated.
        json: the body: a model, or a structure of models and plain values.
        form: the body as a form.
        key: the idempotency key, with which the call takes effect once, even if it is sent several times.
        only_reads: whether a POST changes nothing and may be sent again like a GET.
        probe: see `Outgoing`.
        timeout: time limit (seconds) of this call, if it is shorter than the deadline.
        batch: path of the endpoint that takes this call together with concurrent ones (`add_batch_route`). Calls of
            sagas are batched; others are sent one by one.
    """

    params: Mapping[str, Any]
    json: Any
    form: Mapping[str, str]
    key: str
    only_reads: bool
    probe: bool
    timeout: float
    batch: str


class Calls:
    """Calls to other services in one context: a request, an event or a saga step.

    `calls(ProductsClient)` returns a client with the identity, trace and deadline of that context.

    Args:
        channel: sends the requests.
        identity: on whose behalf the calls are made.
        request_id: value of `X-Request-ID`.
        trace: trace context. Each call is a span in it.
        tracing: creates the spans.
        deadline: time limit of all calls, in the event loop's time.
        key: idempotency key. The first POST or PATCH has the key `key/1`, the next `key/2`.
        layout: path prefix and service names of the system.
        timeout: time limit (seconds) of a call, if the deadline is not earlier.

    Attributes:
        in_doubt: whether a call had an attempt with an unknown outcome that may still take effect.
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
        layout: Layout = DEFAULT_LAYOUT,
        timeout: float = 10.0,
    ) -> None:
        self._channel = channel
        self._batcher: CallBatcher | None = None
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

    def batch_with(self, batcher: CallBatcher) -> None:
        """Send calls that name a `batch` together with those of other contexts that have the same identity."""
        self._batcher = batcher

    async def send(self, service: str, method: str, path: str, options: Options) -> Incoming:
        """Call a service and return the response, whatever its status.

        Raises:
            CalledInTransaction: this task has an open transaction.
            CallFailed: there is no usable response.
        """
        work = current_unit_of_work.get()
        if work is not None and work.has_begun:
            raise CalledInTransaction(service)
        out = self._outgoing(service, method, path, options)
        batch = options.get("batch")
        if batch is None or self._batcher is None:
            return await self._send_authenticated(out)
        call = BatchableCall(out, path, self._send_authenticated, partial(self._begin_span, out))
        answer = await self._batcher.send(call, batch=self._layout.path(batch))
        self.in_doubt |= answer.in_doubt
        return answer

    async def _send_authenticated(self, out: Outgoing) -> Incoming:
        token = await self._token(out)
        answer = await self._send_with_token(out, token)
        if answer.status == _UNAUTHORIZED and token is not None and isinstance(self._identity, Renewable):
            self._identity.forget(token)  # its signing key may have been replaced, and the call had no effect yet
            answer = await self._send_with_token(out, await self._token(out))
        return answer

    async def _token(self, out: Outgoing) -> str | None:
        if self._identity is None or isinstance(self._identity, str):
            return self._identity
        try:
            async with asyncio.timeout(self._left(out.service, out.timeout)):
                return await self._identity()
        except TimeoutError:
            raise CallTimedOut(out.service, "the time limit expired before a token was obtained") from None

    async def _send_with_token(self, out: Outgoing, token: str | None) -> Incoming:
        headers = out.headers.copy()
        if token is not None:
            headers.append((b"authorization", f"Bearer {token}".encode("latin-1")))
        sent = replace(out, headers=headers, timeout=self._left(out.service, out.timeout))
        answer = await (self._channel.send(sent) if self._trace is None else self._send_traced(sent, self._trace))
        self.in_doubt |= answer.in_doubt
        return answer

    async def _send_traced(self, out: Outgoing, trace: TraceContext) -> Incoming:
        span = self._begin_span(out, trace)
        out.headers.append((b"traceparent", str(span.context).encode("ascii")))
        try:
            answer = await self._channel.send(out)
        except CallFailed as error:
            span.end(error=type(error).__name__)
            raise
        span.end(status=answer.status)
        return answer

    def _begin_span(self, out: Outgoing, trace: TraceContext | None = None) -> Span:
        trace = trace or self._trace or TraceContext.new()
        return self._tracing.call(trace, service=out.service, method=out.method, path=out.path, links=out.links)

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
    """Base class of a service's typed client, declared in its contract: `class LoansClient(Client, service="loans")`.

    Its methods call `get`, `post` and so on with a path of the service. `answer=` is the type of the response body;
    without it the body is ignored. All of them raise the errors of `portico.kit.calls.errors`: Refused for a response
    with 4xx or 5xx, CallFailed if there is no usable response, CalledInTransaction.
    """

    service: ClassVar[str]

    def __init_subclass__(cls, *, service: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if service is not None:
            cls.service = service

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def request(self, method: str, path: str, **options: Unpack[Options]) -> Incoming:
        """Return the complete response of a call, for callers that need its headers. Raises the errors of the class."""
        answer = await self._calls.send(self.service, method, path, options)
        if answer.status >= 400:  # noqa: PLR2004 - RFC 9110 section 15
            raise refused_error(self.service, answer)
        if answer.status >= 300:  # noqa: PLR2004 - channels do not follow redirects
            raise ResponseInvalid(self.service, f"answered {answer.status} to {method} {path}")
        return answer

    async def _read(self, method: str, path: str, answer: Any, options: Options) -> Any:
        incoming = await self.request(method, path, **options)
        return None if answer is None else decode(self.service, incoming, answer)

    @overload
    async def get(self, path: str, *, answer: type[T], **options: Unpack[Options]) -> T: ...
    @overload
    async def get(self, path: str, *, answer: None = None, **options: Unpack[Options]) -> None: ...
    async def get(self, path: str, *, answer: Any = None, **options: Unpack[Options]) -> Any:
        """Send a GET."""
        return await self._read("GET", path, answer, options)

    @overload
    async def post(self, path: str, *, answer: type[T], **options: Unpack[Options]) -> T: ...
    @overload
    async def post(self, path: str, *, answer: None = None, **options: Unpack[Options]) -> None: ...
    async def post(self, path: str, *, answer: Any = None, **options: Unpack[Options]) -> Any:
        """Send a POST."""
        return await self._read("POST", path, answer, options)

    @overload
    async def put(self, path: str, *, answer: type[T], **options: Unpack[Options]) -> T: ...
    @overload
    async def put(self, path: str, *, answer: None = None, **options: Unpack[Options]) -> None: ...
    async def put(self, path: str, *, answer: Any = None, **options: Unpack[Options]) -> Any:
        """Send a PUT."""
        return await self._read("PUT", path, answer, options)

    @overload
    async def patch(self, path: str, *, answer: type[T], **options: Unpack[Options]) -> T: ...
    @overload
    async def patch(self, path: str, *, answer: None = None, **options: Unpack[Options]) -> None: ...
    async def patch(self, path: str, *, answer: Any = None, **options: Unpack[Options]) -> Any:
        """Send a PATCH."""
        return await self._read("PATCH", path, answer, options)

    @overload
    async def delete(self, path: str, *, answer: type[T], **options: Unpack[Options]) -> T: ...
    @overload
    async def delete(self, path: str, *, answer: None = None, **options: Unpack[Options]) -> None: ...
    async def delete(self, path: str, *, answer: Any = None, **options: Unpack[Options]) -> Any:
        """Send a DELETE."""
        return await self._read("DELETE", path, answer, options)
