"""Route table: finds the service and route of a method and path, in about a microsecond."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from portico.kit.auth.access import Access
from portico.kit.http.router import RouteDeclaration

WEBSOCKET = "WEBSOCKET"


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path of one service.

    Args:
        service: The service's name in this system.
        method: An HTTP method, or WEBSOCKET.
        path: The template, such as "/products/{product_id}".
        access: Which callers may use the route.
        rate: The name of the rate that applies; None for `default`.
        timeout: Seconds until the response must have begun; None for the gateway's default.
        streams: Whether the response has no time limit (server-sent events, WebSocket).
        body_limit: Maximum size of the request body in bytes; None for the gateway's default.
        oauth_errors: Whether errors are OAuth error responses (RFC 6749 section 5.2) instead of problems.
        any_origin: Whether pages of every origin may call it, without credentials (CORS).
    """

    service: str
    method: str
    path: str
    access: Access = Access("public")  # noqa: RUF009 - frozen
    rate: str | None = None
    timeout: float | None = None
    streams: bool = False
    body_limit: int | None = None
    oauth_errors: bool = False
    any_origin: bool = False

    @classmethod
    def of(cls, service: str, declared: RouteDeclaration) -> "Route":
        return cls(
            service=service,
            method=declared.method,
            path=declared.path,
            access=declared.access,
            rate=declared.rate,
            timeout=declared.timeout,
            streams=declared.streams or declared.method == WEBSOCKET,
            body_limit=declared.body_limit,
            oauth_errors=declared.oauth_errors,
            any_origin=declared.any_origin,
        )

    @property
    def is_routed(self) -> bool:
        """Whether the gateway forwards the route. It does not forward routes for services only."""
        return self.access.kind != "service"


def routes_of(declared: Mapping[str, Iterable[RouteDeclaration]]) -> list[Route]:
    """Return the routes of all services of a system from their declared routes by service name."""
    return [Route.of(service, route) for service, routes in declared.items() for route in routes]


Methods = dict[str, Route]


@dataclass(slots=True)
class _Node:
    """Node of the route tree: the continuations of a path prefix."""

    methods: Methods = field(default_factory=dict)
    literals: dict[str, "_Node"] = field(default_factory=dict)
    patterns: list[tuple[re.Pattern[str], "_Node"]] = field(default_factory=list)
    parameter: "_Node | None" = None
    rest: Methods = field(default_factory=dict)


class RouteTable:
    """Finds the route for a method and a path. A literal segment takes precedence over a parameter, in any order.

    Routes for services only are stored but never found. Without them `/orders/totals` would match
    `/orders/{order_id}`, be forwarded, and reach the service's own `/orders/totals`.

    Args:
        routes: All routes of all services.

    Raises:
        ValueError: two services declare the same method and path, and neither is for services only.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(route for route in routes if route.is_routed)
        self._literal: dict[str, Methods] = {}
        self._root = _Node()
        for route in routes:
            methods = self._methods_at(route.path)
            other = methods.get(route.method)
            if other is not None and other.is_routed and route.is_routed:
                raise ValueError(
                    f"{route.method} {route.path} of {route.service} conflicts with {other.path} of {other.service}"
                )
            if other is None or route.is_routed:
                methods[route.method] = route

    def find(self, method: str, path: str) -> "Route | tuple[str, ...]":
        """Return the route, or the methods that the path supports, which are none if the path does not exist.

        Args:
            method: The method in upper case. GET serves HEAD if the path declares no HEAD.
            path: The percent-decoded path, without the query.
        """
        route = self._best_match(method, path)
        return route if route is not None and route.is_routed else self.methods(path)

    def service_only_route(self, method: str, path: str) -> Route | None:
        """Return the matching route if it is for services only, otherwise None."""
        route = self._best_match(method, path)
        return None if route is None or route.is_routed else route

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the HTTP methods that the path supports; none if the path does not exist."""
        routes: Methods = {}
        for methods in self._candidates(path, self._literal.get(path)):
            routes = methods | routes
        allowed = {method for method, route in routes.items() if route.is_routed}
        if "GET" in allowed:
            allowed.add("HEAD")
        return tuple(sorted(allowed - {WEBSOCKET}))

    def entries(self) -> Iterator[Methods]:
        """Yield the methods of each path template in order of precedence, including routes for services only.

        Of the templates that a path matches, the first with the method decides.
        """
        yield from self._literal.values()
        yield from _entries(self._root)

    def _best_match(self, method: str, path: str) -> Route | None:
        """Return the matching route, including routes for services only."""
        methods = self._literal.get(path)
        route = None if methods is None else methods.get(method)
        return self._search(method, path, methods) if route is None else route

    def _search(self, method: str, path: str, literal: Methods | None) -> Route | None:
        for methods in self._candidates(path, literal):
            route = methods.get(method)
            if route is None and method == "HEAD":
                route = methods.get("GET")
            if route is not None:
                return route
        return None

    def _candidates(self, path: str, literal: Methods | None) -> Iterator[Methods]:
        if literal is not None:
            yield literal
        yield from _walk(self._root, path[1:].split("/"), 0)

    def _methods_at(self, template: str) -> Methods:
        if "{" not in template:
            return self._literal.setdefault(template, {})
        node = self._root
        segments = template[1:].split("/")
        for number, segment in enumerate(segments, start=1):
            if segment.endswith(":path}") and segment.startswith("{"):
                if number != len(segments):
                    raise ValueError(f"{template}: a path parameter must be the last segment")
                return node.rest
            node = _child(node, segment)
        return node.methods


def _child(node: _Node, segment: str) -> _Node:
    if "{" not in segment:
        return node.literals.setdefault(segment, _Node())
    if re.fullmatch(r"\{[^{}]+\}", segment):
        node.parameter = node.parameter or _Node()
        return node.parameter
    pattern = re.compile("".join(_piece(piece) for piece in re.split(r"(\{[^{}]+\})", segment)))
    for existing, child in node.patterns:
        if existing.pattern == pattern.pattern:
            return child
    node.patterns.append((pattern, _Node()))
    return node.patterns[-1][1]


def _piece(piece: str) -> str:
    return "[^/]+" if piece.startswith("{") else re.escape(piece)


def _entries(node: _Node) -> Iterator[Methods]:
    """Yield the method tables below `node`, in the order of `_walk`."""
    if node.methods:
        yield node.methods
    for child in (*node.literals.values(), *(child for _, child in node.patterns)):
        yield from _entries(child)
    if node.parameter is not None:
        yield from _entries(node.parameter)
    if node.rest:
        yield node.rest


def _walk(node: _Node, segments: list[str], at: int) -> Iterator[Methods]:
    """Yield the method tables that the segments match, the most literal first."""
    if at == len(segments):
        if node.methods:
            yield node.methods
        return
    segment = segments[at]
    if (child := node.literals.get(segment)) is not None:
        yield from _walk(child, segments, at + 1)
    for pattern, child in node.patterns:
        if pattern.fullmatch(segment):
            yield from _walk(child, segments, at + 1)
    if node.parameter is not None and segment:
        yield from _walk(node.parameter, segments, at + 1)
    if node.rest:
        yield node.rest
