"""Private APIs of FastAPI, written for FastAPI 0.165.

FastAPI has no public name for what it finds in an endpoint's signature (`Dependant`) and for the resolution of that. The kit
needs both: to reject unknown query parameters, and to resolve a WebSocket's parameters before several tasks serve it.

Two fast paths: `fastapi_lookups` and `fastapi_query`.
"""

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from portico.kit._compat import Library, is_enabled, require, require_parameters
from portico.kit._compat.fastapi_direct import direct_handler, is_direct

with Library("fastapi", "0.165").shape():
    from fastapi._body_limit import wrap_app_with_body_limit
    from fastapi._compat import ModelField
    from fastapi.dependencies.models import Dependant
    from fastapi.dependencies.utils import SolvedDependency, solve_dependencies
    from fastapi.routing import request_response

    require(Dependant, "name", "call", "dependencies", "query_params", "request_param_name")
    require(ModelField, "name", "alias", "field_info")
    require(SolvedDependency, "values", "errors")
    require_parameters(solve_dependencies, "request", "dependant", "async_exit_stack", "embed_body_fields")
    require_parameters(request_response, "func")
    require_parameters(wrap_app_with_body_limit, "app", "max_body_size")

__all__ = [
    "MAX_SPARSE_HANDLERS",
    "Analyses",
    "AnalyzedRoute",
    "Dependant",
    "SparseHandlers",
    "functions_of",
    "handler_of",
    "lookup",
    "query_fields",
    "resolved",
    "takes_json",
    "with_direct_lookups",
    "without_lookups",
]

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

MAX_SPARSE_HANDLERS = 256 if is_enabled("fastapi_query") else 0
"""How many handlers a route makes for sets of query parameters."""

Analyses = dict[tuple[Any, ...], dict[str, Any]]
"""What FastAPI found in the signature of one endpoint, by path, operation id and case of its JSON."""

_OF_ONE_APP = {"app", "dependency_overrides_provider"}
_REQUEST = "portico_request"
_EXIT_STACKS = ("fastapi_inner_astack", "fastapi_function_astack")
_NOTHING: frozenset[str] = frozenset()
_NEVER_CHANGE = (type(None), bool, int, float, str, bytes, tuple, frozenset)


def functions_of(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    """Return an endpoint and the functions that it depends on, directly or not."""
    yield dependant.call
    for each in dependant.dependencies:
        yield from functions_of(each)


def query_fields(dependant: Dependant) -> Iterator[tuple[str, FieldInfo]]:
    """Return name and declaration of each query parameter of an endpoint and of what it depends on."""
    for field in dependant.query_params:
        yield field.name, field.field_info
    for each in dependant.dependencies:
        yield from query_fields(each)


class AnalyzedRoute(APIRoute):
    """A route that reuses what FastAPI found in the signature of its endpoint when it was built before.

    FastAPI spends about 5 ms on each route, a third of a service's start. Tests start the same service many times.

    Args:
        path: see APIRoute.
        endpoint: see APIRoute.
        analyses: those of the endpoint, to which this route adds its own.
        app: the app that the route belongs to.
        options: other options of APIRoute; the same for each route of the endpoint, but for operation id and case.
    """

    def __init__(
        self, path: str, endpoint: Callable[..., Any], *, analyses: Analyses, app: FastAPI, **options: Any
    ) -> None:
        key = (path, options.get("operation_id"), options.get("response_model_by_alias"))
        if key in analyses:
            vars(self).update(analyses[key])
            self.dependency_overrides_provider = app
            self.app = wrap_app_with_body_limit(request_response(self.get_route_handler()), self.max_body_size)
            return
        own = {*vars(self), *_OF_ONE_APP}
        super().__init__(path, endpoint, dependency_overrides_provider=app, **options)
        analyses[key] = {name: value for name, value in vars(self).items() if name not in own}


def takes_json(route: APIRoute) -> bool:
    """Return whether the endpoint of a route has a body that is not a form."""
    return route.body_field is not None and not isinstance(route.body_field.field_info, Form)


@asynccontextmanager
async def resolved(connection: HTTPConnection, dependant: Dependant) -> AsyncIterator[dict[str, Any]]:
    """Resolve the arguments of an endpoint; what its dependencies opened is closed at the end of the block.

    Raises:
        RequestValidationError: parameters are missing or invalid.
    """
    async with AsyncExitStack() as stack:
        for name in _EXIT_STACKS:
            connection.scope[name] = stack
        request: Any = connection
        found = await solve_dependencies(
            request=request, dependant=dependant, async_exit_stack=stack, embed_body_fields=False
        )
        if found.errors:
            raise RequestValidationError(found.errors)
        yield found.values


def handler_of(route: APIRoute, dependant: Dependant, make: Callable[[], Handler]) -> Handler:
    """Return the handler that `make` builds for a route as if the endpoint's signature were `dependant`."""
    whole = route.dependant
    route.dependant = reduced = without_lookups(dependant)
    try:
        made = make()
    finally:
        route.dependant = whole
    return direct_handler(route, reduced, made) if is_direct(route, reduced) else made


def without_lookups(dependant: Dependant) -> Dependant:
    """Return a dependant that leaves the lookups to its function, if that fast path is enabled."""
    return with_direct_lookups(dependant) if is_enabled("fastapi_lookups") else dependant


def lookup(function: F) -> F:
    """Mark a dependency that takes the request alone, rejects nothing and only looks up what the request carries.

    FastAPI spends about 25 µs on each dependency, and an endpoint has half a dozen. Marked ones are called directly.
    """
    function.is_lookup = True  # type: ignore[attr-defined]  # a function takes any attribute
    return function


def with_direct_lookups(dependant: Dependant) -> Dependant:
    """Return a dependant whose function itself calls the lookups, right before the endpoint; FastAPI calls the others."""
    endpoint: Any = dependant.call
    lookups = list(_lookups(dependant))
    if not (lookups and inspect.iscoroutinefunction(endpoint)):
        return dependant
    request_name = dependant.request_param_name or _REQUEST
    wanted = dependant.request_param_name is not None

    @wraps(endpoint)
    async def call(**values: Any) -> Any:
        request = values[request_name] if wanted else values.pop(request_name)
        for name, look_up in lookups:
            values[name] = await look_up(request)
        return await endpoint(**values)

    direct = {name for name, _ in lookups}
    rest = [each for each in dependant.dependencies if each.name not in direct]
    return replace(dependant, call=call, dependencies=rest, request_param_name=request_name)


def _lookups(dependant: Dependant) -> Iterator[tuple[str, Callable[[Any], Awaitable[Any]]]]:
    """Return the lookups that nothing else depends on: two dependants of one dependency share its result."""
    times = Counter(functions_of(dependant))
    for each in dependant.dependencies:
        if getattr(each.call, "is_lookup", False) and each.name is not None and times[each.call] == 1:
            yield each.name, each.call  # type: ignore[misc]  # what is marked is a function


class SparseHandlers:
    """Handlers that parse the query parameters that a request has, and leave the others to the endpoint's defaults.

    FastAPI spends about 15 µs on each parameter that an endpoint declares, whether it was sent or not. A handler is made
    for each set of parameters when it is first sent.

    Args:
        dependant: what FastAPI found in the endpoint's signature.
        make: makes a handler of a dependant.
        limit: how many sets have a handler of their own; the others share one that parses every parameter.
    """

    def __init__(self, dependant: Dependant, make: Callable[[Dependant], Handler], *, limit: int) -> None:
        self._dependant = dependant
        self._make = make
        self._whole = make(dependant)
        self._known = frozenset(_spellings(dependant))
        self._sparse: dict[frozenset[str], Handler] = {}
        self._limit = limit

    def for_request(self, request: Request) -> Handler:
        """Return the handler that parses the parameters of `request`."""
        sent = self._known.intersection(request.query_params) if request.scope["query_string"] else _NOTHING
        handler = self._sparse.get(sent)
        if handler is None:
            if len(self._sparse) == self._limit:
                return self._whole
            handler = self._sparse[sent] = self._make(_only(self._dependant, sent))
        return handler


def _only(dependant: Dependant, sent: frozenset[str]) -> Dependant:
    """Return `dependant` without the query parameters that were not sent and have a default in the function itself."""
    return replace(
        dependant,
        query_params=[
            each for each in dependant.query_params if _is_sent(each, sent) or not _falls_back(each, dependant)
        ],
        dependencies=[_only(inner, sent) for inner in dependant.dependencies],
    )


def _spellings(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        yield from (field.alias, field.name, to_camel(field.name))
    for inner in dependant.dependencies:
        yield from _spellings(inner)


def _is_sent(field: ModelField, sent: frozenset[str]) -> bool:
    return not sent.isdisjoint((field.alias, field.name, to_camel(field.name)))


def _falls_back(field: ModelField, dependant: Dependant) -> bool:
    if dependant.call is None or field.field_info.default_factory is not None:
        return False
    parameter = inspect.signature(dependant.call).parameters.get(field.name)
    default = inspect.Parameter.empty if parameter is None else parameter.default
    return default is field.field_info.default and isinstance(default, _NEVER_CHANGE)
