"""The ASGI app of a service in one system: flat FastAPI routes built from the declared ones."""

from collections.abc import Iterable
from http import HTTPStatus

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from portico import __version__
from portico.kit._compat.fastapi_direct import DirectRoutes
from portico.kit.foundation.problems import BadRequest, MethodNotAllowed, NotFound, Problem
from portico.kit.http.boundary import BoundaryRoute
from portico.kit.http.context import HttpContext
from portico.kit.http.docs import PATHS
from portico.kit.http.documents import ServiceApp, describe, describe_tags, operation_ids
from portico.kit.http.error_handling import ErrorResponder, OAuthErrorResponder
from portico.kit.http.health_routes import router as health_router
from portico.kit.http.middleware import ServiceMiddleware
from portico.kit.http.numbered_lists import with_numbered_pages
from portico.kit.http.pages import page_routes
from portico.kit.http.router import WEBSOCKET, Route, Router
from portico.kit.http.sockets import SocketRoute, WebSocketExpected

EXPOSED_HEADERS = (
    "Accept-Encoding",
    "Allow",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
    "X-Total-Count",
    "X-Total-Count-At-Least",
)
"""Response headers that pages of allowed origins may read (Fetch standard, CORS). The gateway exposes the same."""


def build_app(context: HttpContext, *, summary: str, routers: Iterable[Router]) -> ASGIApp:
    """Return the ASGI app of a service.

    It has the service's routes, the health routes, documentation pages, CORS for browsers that call without a gateway,
    and the middleware.
    """
    app = ServiceApp(
        title=context.name,
        description=summary,
        version=__version__,
        case=context.system.case,
        docs_url=None,  # FastAPI's own pages load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the host in the Host header, not the gateway
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
        },  # the middleware does this at a tenth of the cost
    )
    declared = [health_router, *routers]
    app.openapi_tags, operation_id_of = describe_tags(declared), operation_ids(declared)
    for router in declared:
        for each in router.routes:
            route = each.with_public_reads(public_reads=context.settings.public_reads)
            app.router.routes.append(build_route(app, route, context, operation_id_of(each)))
            app.add_problem_schemas(route)
    app.router.routes.extend(page_routes(context.name))

    responder = ErrorResponder(context.name, context.system.case)
    oauth_responder = OAuthErrorResponder(context.name, context.system.case)

    async def refuse(request: Request, error: Exception) -> Response:
        routes = _routes_at(request)
        is_oauth = bool(routes) and all(route.oauth_errors for route in routes)
        return (oauth_responder if is_oauth else responder).answer(request, _problem(request, error))

    app.add_exception_handler(HTTPException, refuse)
    quiet = {route.path for route in app.router.routes if isinstance(route, BoundaryRoute) and route.quiet}
    direct = DirectRoutes(app, [(each, _server_of(each)) for each in app.router.routes])
    return ServiceMiddleware(
        direct, _with_cors(direct, context), context, polled=frozenset({*quiet, *PATHS, "/openapi.json"})
    )


def build_route(
    app: FastAPI, route: Route, context: HttpContext, operation_id: str | None = None
) -> BoundaryRoute | SocketRoute:
    """Return the FastAPI route of a declared route in this system."""
    path = (context.system.prefix if route.prefixed else "") + route.path
    if context.system.lists == "pages":
        route = with_numbered_pages(route)
    if route.method == WEBSOCKET:
        return SocketRoute(route, context, path, dependency_overrides_provider=app)
    rendered = {} if route.response_model is None else {"response_model": route.response_model}
    built = BoundaryRoute(
        route,
        context,
        path,
        status_code=route.status_code,
        tags=list(route.tags),
        operation_id=operation_id,
        response_model_by_alias=context.system.case == "camel",
        app=app,
        **rendered,
        **route.framework,
    )
    describe(built, route)
    return built


def _server_of(route: BaseRoute) -> ASGIApp | None:
    """Return the handler that serves a route without FastAPI's layers; None if the route needs them."""
    return route.serve if isinstance(route, BoundaryRoute) and route.is_direct else None


def _with_cors(app: ASGIApp, context: HttpContext) -> ASGIApp:
    return CORSMiddleware(
        app,
        allow_origins=list(context.settings.cors_origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["*"],
        allow_credentials=True,
        expose_headers=EXPOSED_HEADERS,
    )


def _problem(request: Request, error: Exception) -> Problem:
    """Return the problem of an error raised by the framework: unknown path or method, or an unreadable body."""
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.NOT_FOUND:
        return WebSocketExpected() if _is_a_websocket(request) else NotFound()
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed(allowed=_allowed(request))
    return BadRequest(reason="the body could not be read")


def _is_a_websocket(request: Request) -> bool:
    routes = request.app.router.routes
    return any(isinstance(each, SocketRoute) and each.path_regex.match(request.url.path) for each in routes)


def _allowed(request: Request) -> str:
    """Return the methods of all routes at this path. The framework returns only those of the first route."""
    return ", ".join(sorted({method for route in _routes_at(request) for method in route.methods or ()}))


def _routes_at(request: Request) -> list[BoundaryRoute]:
    """Return the routes at this path, with any method."""
    routes = request.app.router.routes
    return [each for each in routes if isinstance(each, BoundaryRoute) and each.path_regex.match(request.url.path)]
