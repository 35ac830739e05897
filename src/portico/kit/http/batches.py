"""Batch endpoints: many requests of one endpoint in one request, each with its own status, for services.

The body is a list of `{"method", "path", "key", "trace", "request_id", "body"}`. The response is a list of `{"status",
"headers", "body"}` in the same order. If a status is null, the request was not ready in time: send it alone, with the
same key.
"""

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, get_args, get_type_hints
from urllib.parse import unquote

import orjson
from fastapi import Body
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends, Header
from pydantic import BaseModel, StringConstraints, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from portico.kit.calls.call_batcher import MAX_BATCH
from portico.kit.foundation.problems import NotFound
from portico.kit.http.boundary import Reads, Work
from portico.kit.http.context import Context, HttpContext
from portico.kit.http.error_handling import ErrorResponder
from portico.kit.http.problems import problem_document
from portico.kit.http.router import Route, Router
from portico.kit.http.schema import Schema
from portico.kit.telemetry.context import RequestContext, request_context

READY_WITHIN = 0.5
"""Seconds without another finished request after which the response is sent without the unfinished requests."""

RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:\-]{1,128}$")]

_NOT_READY = b'{"status":null,"headers":{},"body":null}'
_CONTEXT = "context_of_batch"
_REQUEST = "request_of_batch"
_ITEMS = "items_of_batch"
_SHARED = {get_args(each)[1].dependency for each in (Work, Reads)}  # these belong to the whole HTTP request


class BatchItem(Schema):
    """One request of a batch.

    trace: the `traceparent` of its caller.
    request_id: the `X-Request-ID` of its caller.
    """

    method: str
    path: str
    key: str | None = None
    trace: str | None = None
    request_id: RequestId | None = None
    body: Any = None


@dataclass(frozen=True)
class _Single:
    """The single endpoint, and the sources of its arguments."""

    route: Route
    path_kinds: Mapping[str, Any]
    body_name: str | None
    body_kind: Any
    key_name: str | None
    key_kind: Any
    response_name: str | None
    request_name: str | None
    dependencies: Mapping[str, Any]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        parts = re.split(r"{(\w+)(?::\w+)?}", self.route.path)
        return re.compile("".join(f"(?P<{p}>[^/]+)" if n % 2 else re.escape(p) for n, p in enumerate(parts)))

    @cached_property
    def path_adapters(self) -> Mapping[str, TypeAdapter[Any]]:
        return {name: TypeAdapter(kind) for name, kind in self.path_kinds.items()}

    @cached_property
    def body_adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.body_kind)

    @cached_property
    def key_adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.key_kind)

    @cached_property
    def answer_adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.route.response_model or Any)

    def arguments(self, item: BatchItem) -> dict[str, Any]:
        """Return the arguments that belong to one request. Raises NotFound, RequestValidationError."""
        found = self.pattern.fullmatch(item.path) if item.method == self.route.method else None
        if found is None:
            raise NotFound
        values = {name: unquote(text) for name, text in found.groupdict().items()}
        arguments = {
            name: _validated(adapter, values[name], ("path", name)) for name, adapter in self.path_adapters.items()
        }
        if self.body_name is not None:
            arguments[self.body_name] = _validated(self.body_adapter, item.body, ("body",))
        if self.key_name is not None:
            arguments[self.key_name] = _validated(self.key_adapter, item.key, ("header", "Idempotency-Key"))
        return arguments


def add_batch_route(router: Router, path: str, *, of: Callable[..., Any], max_requests: int = MAX_BATCH) -> None:
    """Declare an endpoint that takes many requests for the declared endpoint `of` at once, from services.

    The requests are handled concurrently. Each is handled like a single request, with its own Idempotency-Key, status
    and problem. A typed client names the path as `batch=`.

    Args:
        router: the router of `of`.
        path: path of the endpoint.
        of: an endpoint for services. It may take a body, path parameters, resources and the context, and nothing else.
        max_requests: maximum number of requests.

    Raises:
        TypeError: `of` is not declared, or takes something that cannot exist for each request of a batch, such as a
            unit of work.
    """
    single = next((route for route in router.routes if route.endpoint is of), None)
    if single is None:
        raise TypeError(f"{of.__name__} has no route. Declare it before its batch.")
    hidden = {"include_in_schema": False}
    router.add("POST", path, _batch_endpoint(single, max_requests), stores_response=False, framework=hidden)


def _batch_endpoint(route: Route, max_requests: int) -> Callable[..., Any]:
    single = _analyze(route)

    async def handle(**given: Any) -> Response:
        items, request, context = given.pop(_ITEMS), given.pop(_REQUEST), given.pop(_CONTEXT)
        batch = _Batch(single, request, given, context, ErrorResponder(context.name, context.system.case, route.errors))
        return Response(await batch.answer(items), media_type="application/json")

    items = Annotated[list[BatchItem], Body(min_length=1, max_length=max_requests)]
    annotations = {_ITEMS: items, _REQUEST: Request, _CONTEXT: Context, **single.dependencies}
    keyword = inspect.Parameter.KEYWORD_ONLY
    handle.__name__ = f"{route.endpoint.__name__}_batch"
    handle.__doc__ = f"Handle many requests to {route.method} {route.path}."
    handle.__annotations__ = {**annotations, "return": Response}
    parameters = [inspect.Parameter(name, keyword, annotation=each) for name, each in annotations.items()]
    handle.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect.signature reads it
    return handle


class _Batch:
    """The requests of one batch.

    Args:
        single: the single endpoint.
        request: the request with the batch.
        shared: the arguments that are the same for all requests.
        context: the service.
        errors: converts errors to problems.
    """

    def __init__(
        self,
        single: _Single,
        request: Request,
        shared: Mapping[str, Any],
        context: HttpContext,
        errors: ErrorResponder,
    ) -> None:
        self._single = single
        self._request = request
        self._shared = shared
        self._context = context
        self._case: Any = context.system.case
        self._errors = errors

    async def answer(self, items: Sequence[BatchItem]) -> bytes:
        """Handle all requests concurrently and return the body of the response."""
        tasks = [asyncio.create_task(self._traced(item)) for item in items]
        waiting = set(tasks)
        try:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            while waiting and finished:
                finished, waiting = await asyncio.wait(
                    waiting, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            for task in waiting:
                task.cancel()
            if waiting:
                await asyncio.wait(waiting)
        return b"[" + b",".join(_NOT_READY if task.cancelled() else task.result() for task in tasks) + b"]"

    async def _traced(self, item: BatchItem) -> bytes:
        """Handle one request in its caller's trace. Its span has a link to the span of the batch request."""
        prefix = self._context.system.prefix
        span = self._context.tracing.serve(
            method=item.method,
            path=prefix + item.path,
            traceparent=item.trace,
            links=[self._request.scope["portico.span"].context],
        )
        request_id = item.request_id or self._request.scope["portico.request_id"]
        request_context.set(RequestContext(self._context.name, request_id, span.context))
        status = None
        try:
            status, headers, body = await self._answer(item, request_id)
        finally:
            error = "not_ready" if status is None else None
            span.end(route=prefix + self._single.route.path, status=status, error=error)
        return b'{"status":%d,"headers":%s,"body":%s}' % (status, headers, body)

    async def _answer(self, item: BatchItem, request_id: str) -> tuple[int, bytes, bytes]:
        """Handle one request. Return its status, headers and body."""
        response = Response()
        response.status_code = 0  # unless the endpoint sets one
        try:
            arguments = {**self._shared, **self._single.arguments(item)}
            if self._single.response_name is not None:
                arguments[self._single.response_name] = response
            if self._single.request_name is not None:
                arguments[self._single.request_name] = self._request
            body = self._body(await self._single.route.endpoint(**arguments))
        except Exception as error:  # noqa: BLE001  every error becomes the response to its request
            return self._problem(item, error, request_id)
        return response.status_code or self._single.route.status_code, b"{}", body

    def _body(self, result: Any) -> bytes:
        if result is None:
            return b"null"
        adapter = self._single.answer_adapter
        model = adapter.validate_python(result, from_attributes=True)
        return adapter.dump_json(model, by_alias=self._case == "camel")

    def _problem(self, item: BatchItem, error: Exception, request_id: str) -> tuple[int, bytes, bytes]:
        problem, errors = self._errors.problem_of(self._request, error)
        document = problem_document(problem, instance=item.path, request_id=request_id, case=self._case, errors=errors)
        return problem.status, orjson.dumps(dict(problem.headers)), orjson.dumps(document)


def _analyze(route: Route) -> _Single:
    hints = get_type_hints(inspect.unwrap(route.endpoint), include_extras=True)
    hints.pop("return", None)
    in_path = set(re.findall(r"{(\w+)", route.path))
    found: dict[str, Any] = {"path_kinds": {}, "dependencies": {}}
    for name, kind in hints.items():
        marks = getattr(kind, "__metadata__", ())
        depends = next((each for each in marks if isinstance(each, Depends)), None)
        if name in in_path:
            found["path_kinds"][name] = kind
        elif depends is not None and depends.dependency not in _SHARED:
            found["dependencies"][name] = kind
        elif any(isinstance(each, Header) and each.alias == "Idempotency-Key" for each in marks):
            found |= {"key_name": name, "key_kind": get_args(kind)[0]}
        elif kind is Response or kind is Request:
            found["response_name" if kind is Response else "request_name"] = name
        elif isinstance(kind, type) and issubclass(kind, BaseModel) and "body_name" not in found:
            found |= {"body_name": name, "body_kind": kind}
        else:
            raise TypeError(f"{route.endpoint.__name__} takes {name}, which cannot exist for each request of a batch.")
    names = ("body_name", "body_kind", "key_name", "key_kind", "response_name", "request_name")
    arguments: dict[str, Any] = {name: found.get(name) for name in names}
    return _Single(route, path_kinds=found["path_kinds"], dependencies=found["dependencies"], **arguments)


def _validated(adapter: TypeAdapter[Any], value: Any, location: tuple[str, ...]) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        if location[0] == "path":
            raise NotFound from error
        faults = [{**each, "loc": (*location, *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(faults, body=value) from error
