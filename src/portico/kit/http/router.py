"""Declared routes as data. The host builds each system's routes from them; importing creates no FastAPI objects."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, TypeVar, Unpack, get_type_hints

from fastapi.params import Depends

from portico.kit._compat.fastapi import Analyses
from portico.kit.auth.access import Access, access_of
from portico.kit.cache.base import CacheTag
from portico.kit.calls.client import Calls
from portico.kit.foundation.problems import Problem

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

WEBSOCKET = "WEBSOCKET"
"""Method of a route that opens a WebSocket (RFC 6455)."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1


class RouteOptions(TypedDict, total=False):
    """Options of a route.

    Attributes:
        status_code: status of a successful response.
        response_model: model that renders the returned row by its attributes. For a `Slice` of rows, `list[Model]`,
            or `numbered_list("loans", Model)` if the endpoint takes a NumberedPage.
        errors: problems that the endpoint raises, for the documentation.
        rate: name of a stricter rate limit at the gateway ("sign_in").
        timeout: time limit (seconds), if it differs from the service's own.
        body_limit: maximum size (bytes) of a body, if it differs from the service's own.
        stores_response: whether the response is stored for an Idempotency-Key; never for responses with tokens.
        calls_services: whether the endpoint calls other services before its transaction begins. Its Idempotency-Key is
            then claimed last instead of first.
        grouped: whether concurrent requests may be committed in one transaction. This works for requests that only
            insert and publish, see `GroupedUnitOfWork`. Their Idempotency-Key is claimed last.
        accepts_forms: whether a form with the same members is accepted.
        streams: whether the response is a stream (server-sent events): no time limit, and a one-time ticket in the
            query is accepted like a token.
        quiet: whether programs poll it every few seconds. Only responses with 4xx are logged, and a request without a
            caller's trace is not traced.
        cache: tag of the cached response to a public GET. The response is cached until the tag is invalidated.
        oauth_errors: whether errors are OAuth error responses (RFC 6749 section 5.2) instead of problems.
        any_origin: whether pages of every origin may call it through the gateway, without cookies (CORS).
        any_query: whether unknown query parameters are ignored, as a standard requires.
        framework: other options of FastAPI's APIRoute (`response_class`, `openapi_extra`, …).
    """

    status_code: int
    response_model: Any
    errors: Sequence[type[Problem]]
    rate: str | None
    timeout: float | None
    body_limit: int | None
    stores_response: bool
    calls_services: bool
    grouped: bool
    accepts_forms: bool
    streams: bool
    quiet: bool
    cache: CacheTag | None
    oauth_errors: bool
    any_origin: bool
    any_query: bool
    framework: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One declared endpoint; see RouteOptions."""

    method: str
    path: str
    endpoint: Callable[..., Any]
    tags: tuple[str, ...]
    access: Access
    prefixed: bool
    status_code: int = 200
    response_model: Any = None
    errors: Sequence[type[Problem]] = ()
    rate: str | None = None
    timeout: float | None = None
    body_limit: int | None = None
    stores_response: bool = True
    calls_services: bool = False
    grouped: bool = False
    accepts_forms: bool = False
    streams: bool = False
    quiet: bool = False
    cache: CacheTag | None = None
    oauth_errors: bool = False
    any_origin: bool = False
    any_query: bool = False
    framework: Mapping[str, Any] = field(default_factory=dict)
    analyses: Analyses = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.cache is not None and (self.method != "GET" or self.access.kind not in {"public", "public_read"}):
            raise TypeError(f"{self.method} {self.path}: only responses to a public GET can be cached. Remove cache=.")
        if self.supports_idempotency_key and not self.calls_services and _takes_calls(self.endpoint):
            raise TypeError(
                f"{self.method} {self.path}: {self.endpoint.__name__} calls other services, which is not allowed while an "
                "Idempotency-Key is being claimed. Add calls_services=True, or stores_response=False."
            )

    def with_public_reads(self, *, public_reads: bool) -> "Route":
        """Return the route with the access that follows from this value of `PUBLIC_READS`."""
        access = self.access.resolved(public_reads=public_reads)
        return self if access is self.access else replace(self, access=access)

    @property
    def is_documented(self) -> bool:
        """Whether the OpenAPI document contains it."""
        return self.method != WEBSOCKET and bool(self.framework.get("include_in_schema", True))

    @property
    def supports_idempotency_key(self) -> bool:
        """Whether the route supports an Idempotency-Key."""
        return self.method == "POST" and self.stores_response and not self.streams


class Router:
    """Routes with a common prefix: `Router(prefix="/loans", tags=["loans"])`.

    Args:
        prefix: path prefix of the routes.
        tags: tags of the operations in the OpenAPI document.
        prefixed: whether the system's prefix (`/api`) is added; False for paths such as `/.well-known/…`.
        description: description of the tags in the OpenAPI document.
        supplementary: whether the system's OpenAPI document lists the tags last.
    """

    def __init__(
        self,
        prefix: str = "",
        tags: Sequence[str] = (),
        *,
        prefixed: bool = True,
        description: str = "",
        supplementary: bool = False,
    ) -> None:
        self.prefix = prefix
        self.tags = tuple(tags)
        self.description = description
        self.supplementary = supplementary
        self.prefixed = prefixed
        self.routes: list[Route] = []

    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[Endpoint], Endpoint]:
        """Declare a GET."""
        return self._route("GET", path, options)

    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[Endpoint], Endpoint]:
        """Declare a POST."""
        return self._route("POST", path, options)

    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[Endpoint], Endpoint]:
        """Declare a PUT."""
        return self._route("PUT", path, options)

    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[Endpoint], Endpoint]:
        """Declare a PATCH."""
        return self._route("PATCH", path, options)

    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[Endpoint], Endpoint]:
        """Declare a DELETE."""
        return self._route("DELETE", path, options)

    def add(self, method: str, path: str, endpoint: Callable[..., Any], **options: Unpack[RouteOptions]) -> None:
        """Declare a generated endpoint."""
        self._route(method, path, options)(endpoint)

    def websocket(self, path: str, *, errors: Sequence[type[Problem]] = ()) -> Callable[[Endpoint], Endpoint]:
        """Declare a WebSocket. Its endpoint takes a `Socket`, accepts it and sends messages.

        Problems raised before the endpoint accepts become ordinary HTTP responses. A ticket in the query is accepted
        like a token.
        """
        return self._route(WEBSOCKET, path, {"errors": errors, "streams": True})

    def _route(self, method: str, path: str, options: RouteOptions) -> Callable[[Endpoint], Endpoint]:
        def declare(endpoint: Endpoint) -> Endpoint:
            self.routes.append(
                Route(
                    method=method,
                    path=self.prefix + path,
                    endpoint=endpoint,
                    tags=self.tags,
                    access=access_of_endpoint(endpoint),
                    prefixed=self.prefixed,
                    **options,
                )
            )
            return endpoint

        return declare


@dataclass(frozen=True, slots=True)
class RouteDeclaration:
    """The part of a route that the gateway knows. `path` includes the prefix; `timeout` is in seconds."""

    method: str
    path: str
    access: Access
    rate: str | None
    timeout: float | None
    body_limit: int | None
    streams: bool = False
    oauth_errors: bool = False
    any_origin: bool = False

    @property
    def safe(self) -> bool:
        """Whether the method is safe: it only reads (RFC 9110 section 9.2.1)."""
        return self.method in SAFE_METHODS


def declared_routes(
    routers: Sequence[Router], prefix: str = "", *, public_reads: bool = True
) -> list[RouteDeclaration]:
    """Return the routes of a service under the `prefix` of its system, with this value of `PUBLIC_READS`."""
    return [
        RouteDeclaration(
            method=route.method,
            path=(prefix if route.prefixed else "") + route.path,
            access=route.access.resolved(public_reads=public_reads),
            rate=route.rate,
            timeout=route.timeout,
            body_limit=route.body_limit,
            streams=route.streams,
            oauth_errors=route.oauth_errors,
            any_origin=route.any_origin,
        )
        for router in routers
        for route in router.routes
    ]


def access_of_endpoint(endpoint: Callable[..., Any]) -> Access:
    """Return who may call `endpoint`, read from its signature; public if it takes no caller."""
    found = Access("public")
    for hint in _hints(endpoint).values():
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, Depends) and mark.dependency is not None:
                found = found.stricter(access_of(mark.dependency))
    return found


def _takes_calls(endpoint: Callable[..., Any]) -> bool:
    return any(getattr(hint, "__origin__", None) is Calls for hint in _hints(endpoint).values())


def _hints(endpoint: Callable[..., Any]) -> dict[str, Any]:
    hints = get_type_hints(inspect.unwrap(endpoint), include_extras=True)
    hints.pop("return", None)
    return hints
