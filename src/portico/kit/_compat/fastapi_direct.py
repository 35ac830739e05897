"""Endpoints called without FastAPI's routing and request handling, written for FastAPI 0.165.

One fast path: `fastapi_direct`. A request passes five layers of routing and two of exit stacks before FastAPI's handler, which
then parses the content type again and looks at every kind of parameter. Most endpoints need none of that: their arguments are
the path, some headers, a JSON body and what the request carries. A handler of this module reads these with FastAPI's own
fields. If one is missing or invalid, FastAPI's handler gets the request, so errors are the same.
"""

import inspect
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

from fastapi.datastructures import DefaultPlaceholder
from fastapi.params import Form
from fastapi.routing import APIRoute
from fastapi.utils import is_body_allowed_for_status_code
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from portico.kit._compat import Library, is_enabled, require, require_parameters

_HAS_DIRECT: Final = is_enabled("fastapi_direct")

if _HAS_DIRECT:
    with Library("fastapi", "0.165").shape("fastapi_direct"):
        from fastapi._compat import ModelField
        from fastapi.dependencies.models import Dependant
        from fastapi.dependencies.utils import _get_param_aliases, _get_param_model
        from fastapi.exceptions import EndpointContext
        from fastapi.routing import serialize_response

        require(Dependant, "path_params", "query_params", "header_params", "cookie_params", "body_params", "path")
        require(Dependant, "dependencies", "call", "request_param_name", "response_param_name")
        require(Dependant, "background_tasks_param_name", "http_connection_param_name", "security_scopes_param_name")
        require(ModelField, "name", "default", "field_info", "validate")
        require_parameters(serialize_response, "field", "response_content", "by_alias", "endpoint_ctx", "dump_json")

__all__ = ["DirectRoutes", "direct_handler", "is_direct"]

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_IS_DIRECT: Final = "portico.is_direct"
_EXIT_STACKS: Final = ("fastapi_middleware_astack", "fastapi_inner_astack", "fastapi_function_astack")

_PLAIN: Final = (type(None), bool, int, float, str, bytes, tuple, frozenset)
_OTHER_PARAMETERS: Final = (
    "response_param_name",
    "background_tasks_param_name",
    "http_connection_param_name",
    "websocket_param_name",
    "security_scopes_param_name",
)
_MISSING: Final = object()


def is_direct(route: APIRoute, dependant: "Dependant") -> bool:
    """Return whether a route's endpoint can be called without FastAPI's exit stacks, whatever the request has.

    Args:
        route: the route.
        dependant: what the endpoint's signature needs, without what it looks up itself.
    """
    return (
        _HAS_DIRECT
        and inspect.iscoroutinefunction(dependant.call)
        and not dependant.dependencies
        and all(getattr(dependant, name) is None for name in _OTHER_PARAMETERS)
        and route.max_body_size is None
        and route.stream_item_field is None
        and isinstance(route.response_class, DefaultPlaceholder)
    )


def direct_handler(route: APIRoute, dependant: "Dependant", otherwise: Handler) -> Handler:
    """Return a handler that reads the arguments of an endpoint itself, or `otherwise` if they are of other kinds.

    Args:
        route: a route for which `is_direct` is true.
        dependant: the endpoint's parameters.
        otherwise: FastAPI's handler for the same parameters.
    """
    otherwise = partial(_with_exit_stacks, otherwise)
    body = route.body_field
    is_json = body is None or not (isinstance(body.field_info, Form) or route._embed_body_fields)  # noqa: SLF001  # FastAPI has no other name for it
    fields = [*dependant.path_params, *dependant.header_params]
    if dependant.query_params or dependant.cookie_params or not (is_json and all(map(_is_single, fields))):
        return otherwise
    call: Any = dependant.call
    read, render = _reader(dependant, body), _renderer(route, dependant)

    async def handle(request: Request) -> Response:
        values = read(request, await request.body(), await request.json()) if body else read(request)
        if values is None:
            return await otherwise(request)
        result = await call(**values)
        return result if isinstance(result, Response) else await render(result)

    return handle


def _reader(dependant: "Dependant", body: "ModelField | None") -> Callable[..., dict[str, Any] | None]:
    """Return the function that reads the arguments of an endpoint from a request, and its body as bytes and as parsed JSON.

    The function returns None if an argument is missing or invalid.
    """
    path = [(each.name, each.alias, each.validate) for each in dependant.path_params]
    headers = [(each.name, each.alias, each.validate, _default(each)) for each in dependant.header_params]
    request_name = dependant.request_param_name
    body_name = dependant.body_params[0].name if dependant.body_params else ""

    def read(request: Request, content: bytes = b"", parsed: Any = None) -> dict[str, Any] | None:
        values: dict[str, Any] = {}
        if request_name is not None:
            values[request_name] = request
        given = request.scope["path_params"]
        for name, alias, validate in path:
            values[name], errors = validate(given.get(alias))
            if errors:
                return None
        for name, alias, validate, default in headers:
            text = request.headers.get(alias)
            if text is None and default is _MISSING:
                return None
            values[name], errors = (default, []) if text is None else validate(text)
            if errors:
                return None
        if body is not None:
            values[body_name], errors = body.validate(parsed)
            if errors or not content:
                return None
        return values

    return read


def _is_single(field: "ModelField") -> bool:
    """Return whether a path or header parameter is one value under one name."""
    return (
        field.field_info.annotation in {int, str, float, bool, str | None}
        or (isinstance(field.field_info.annotation, type) and issubclass(field.field_info.annotation, int | str))
    ) and (
        _get_param_model(field) is None
        and _get_param_aliases(field) == [(field.alias, field.alias)]
        and (field.field_info.is_required() or isinstance(field.default, _PLAIN))
        and not field.field_info.validate_default
    )


def _default(field: "ModelField") -> Any:
    return _MISSING if field.field_info.is_required() else field.default


def _renderer(route: APIRoute, dependant: "Dependant") -> Callable[[Any], Coroutine[Any, Any, Response]]:
    """Return the function that renders what an endpoint returns, as FastAPI does for routes without options."""
    status = route.status_code or 200
    place = _place_of(dependant.call)
    place["path"] = f"{min(route.methods or '')} {dependant.path}"
    options: dict[str, Any] = {
        "include": route.response_model_include,
        "exclude": route.response_model_exclude,
        "by_alias": route.response_model_by_alias,
        "exclude_unset": route.response_model_exclude_unset,
        "exclude_defaults": route.response_model_exclude_defaults,
        "exclude_none": route.response_model_exclude_none,
    }
    field = route.response_field

    async def render(result: Any) -> Response:
        content = await serialize_response(
            field=field, response_content=result, **options, endpoint_ctx=place, dump_json=field is not None
        )
        if field is None:
            response: Response = JSONResponse(content, status_code=status)
        else:
            response = Response(content, status_code=status, media_type="application/json")
        if not is_body_allowed_for_status_code(status):
            response.body = b""
        return response

    return render


def _place_of(endpoint: Any) -> "EndpointContext":
    """Return what an error names an endpoint by. FastAPI reads and parses the endpoint's source for the same: 4 ms."""
    function = inspect.unwrap(endpoint)
    code = function.__code__
    return {"file": code.co_filename, "line": code.co_firstlineno, "function": function.__name__}


class DirectRoutes:
    """ASGI app that serves requests to direct routes itself, and passes all others on.

    A request goes to the first route that matches it, as in Starlette. If that one is not direct, the app gets it.

    Args:
        app: the app that has the routes.
        routes: all routes in order, with what serves each of the direct ones.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[tuple[BaseRoute, ASGIApp | None]]) -> None:
        self._app = app
        self._routes: defaultdict[str, list[tuple[StarletteRoute, ASGIApp | None]]] = defaultdict(list)
        for route, serve in routes:
            if isinstance(route, StarletteRoute) and route.methods:
                for method in route.methods:
                    self._routes[method].append((route, serve))
            elif not isinstance(route, WebSocketRoute):
                break  # it may match any request, so the app decides about it and the routes behind it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope.get("root_path"):
            path = scope["path"]
            for route, serve in self._routes.get(scope["method"], ()):
                if (found := route.path_regex.match(path)) is None:
                    continue
                if serve is None:
                    break
                convertors = route.param_convertors
                scope["path_params"] = {
                    name: convertors[name].convert(text) for name, text in found.groupdict().items()
                }
                scope["app"], scope["route"], scope["endpoint"] = self._app, route, route.endpoint
                scope[_IS_DIRECT] = True
                await serve(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _with_exit_stacks(handle: Handler, request: Request) -> Response:
    """Call FastAPI's handler with the exit stacks that it expects, which a direct route does not have."""
    if _IS_DIRECT not in request.scope:
        return await handle(request)
    async with AsyncExitStack() as stack:
        for name in _EXIT_STACKS:
            request.scope[name] = stack
        return await handle(request)
