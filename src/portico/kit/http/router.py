"""Routes as data. The host builds each system's routes from them; nothing of FastAPI is made at import."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeVar, Unpack, get_type_hints

from fastapi.params import Depends

from portico.kit.auth.access import Access, access_of
from portico.kit.cache.tag import CacheTag
from portico.kit.foundation.problems import Problem

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

WEBSOCKET = "WEBSOCKET"
"""What stands for a method where a connection is opened instead of a request answered (RFC 6455)."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1


class RouteOptions(TypedDict, total=False):
    """What a route may say of itself.

    Attributes:
        status_code: Of the answer when all goes well.
        response_model: The model that renders the returned row, by its attributes. For a `Slice` of rows, `list[Model]`.
        errors: The problems that it may raise; they are documented.
        rate: The name of a tighter rate limit at the gateway ("sign_in").
        timeout: Seconds it may take, where the service's own limit does not fit.
        body_limit: Bytes of body, likewise.
        stores_answer: Whether an Idempotency-Key keeps its answer; never for answers that hold tokens.
        asks_others: Whether it calls other services before its transaction begins. Its key is then claimed last, where
            others are claimed first.
        accepts_forms: Whether the same members may come as a form.
        streams: Whether its answer goes on for as long as both sides like (server-sent events): no time limit, and a
            one-time ticket in the query serves as well as a token.
        quiet: Whether programs ask it every few seconds: only what they get wrong (4xx) leaves a line in the log.
        cache: Tag of the cached response to a public GET; the response is cached until the tag is invalidated.
        framework: What FastAPI's APIRoute takes besides (`response_class`, `openapi_extra`, …).
    """

    status_code: int
    response_model: Any
    errors: Sequence[type[Problem]]
    rate: str | None
    timeout: float | None
    body_limit: int | None
    stores_answer: bool
    asks_others: bool
    accepts_forms: bool
    streams: bool
    quiet: bool
    cache: CacheTag | None
    framework: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One endpoint as it was declared; see RouteOptions."""

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
    stores_answer: bool = True
    asks_others: bool = False
    accepts_forms: bool = False
    streams: bool = False
    quiet: bool = False
    cache: CacheTag | None = None
    framework: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cache is not None and (self.method != "GET" or self.access.kind != "public"):
            raise TypeError(f"{self.method} {self.path}: only the response to a public GET can be cached")

    @property
    def keeps_answers(self) -> bool:
        """Whether an Idempotency-Key means something here."""
        return self.method == "POST" and self.stores_answer and not self.streams


class Router:
    """A set of routes under one prefix: `Router(prefix="/loans", tags=["loans"])`.

    `prefixed=False` keeps a system's own prefix (`/api`) away: for `/.well-known/…` and the like.
    """

    def __init__(self, prefix: str = "", tags: Sequence[str] = (), *, prefixed: bool = True) -> None:
        self.prefix = prefix
        self.tags = tuple(tags)
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

    def websocket(
        self, path: str, *, errors: Sequence[type[Problem]] = (), rate: str | None = None
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare a WebSocket, by whose endpoint the client is told things: it takes a `Socket` and accepts it.

        What it raises before is an ordinary answer to the handshake. A ticket in the query serves as well as a token.
        """
        return self._route(WEBSOCKET, path, {"errors": errors, "rate": rate, "streams": True})

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
    """What the gateway may know of a route. `path` has its prefix; `timeout` is in seconds."""

    method: str
    path: str
    access: Access
    rate: str | None
    timeout: float | None
    body_limit: int | None
    streams: bool = False

    @property
    def safe(self) -> bool:
        """Whether asking twice changes nothing (RFC 9110 section 9.2.1)."""
        return self.method in SAFE_METHODS


def declared_routes(routers: Sequence[Router], prefix: str = "") -> list[RouteDeclaration]:
    """The routes of a service as `prefix` of its system places them."""
    return [
        RouteDeclaration(
            method=route.method,
            path=(prefix if route.prefixed else "") + route.path,
            access=route.access,
            rate=route.rate,
            timeout=route.timeout,
            body_limit=route.body_limit,
            streams=route.streams,
        )
        for router in routers
        for route in router.routes
    ]


def access_of_endpoint(endpoint: Callable[..., Any]) -> Access:
    """Who may call `endpoint`, read from its signature; public where it asks for no caller."""
    found = Access("public")
    for hint in _hints(endpoint).values():
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, Depends) and mark.dependency is not None:
                found = found.narrowed(access_of(mark.dependency))
    return found


def _hints(endpoint: Callable[..., Any]) -> dict[str, Any]:
    hints = get_type_hints(inspect.unwrap(endpoint), include_extras=True)
    hints.pop("return", None)
    return hints
