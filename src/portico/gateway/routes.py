"""The route table: which path is whose, found in a microsecond or so."""

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
        access: Whom the route serves.
        rate: The name of a rate of its own.
        timeout: Seconds until its answer must have begun; None for the gateway's own setting.
        streams: Its answer goes on for as long as both sides like (server-sent events, WebSocket).
        body_limit: Bytes its request body may have; None for the gateway's own setting.
    """

    service: str
    method: str
    path: str
    access: Access = Access("public")  # noqa: RUF009 - frozen
    rate: str | None = None
    timeout: float | None = None
    streams: bool = False
    body_limit: int | None = None

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
        )

    @property
    def routed(self) -> bool:
        """What is for services only is not routed by the gateway."""
        return self.access.kind != "service"


def routes_of(declared: Mapping[str, Iterable[RouteDeclaration]]) -> list[Route]:
    """The routes of a system's services, by the names they have there."""
    return [Route.of(service, one) for service, ones in declared.items() for one in ones]


Methods = dict[str, Route]


@dataclass(slots=True)
class _Node:
    """What may follow a prefix of segments."""

    methods: Methods = field(default_factory=dict)
    literals: dict[str, "_Node"] = field(default_factory=dict)
    patterns: list[tuple[re.Pattern[str], "_Node"]] = field(default_factory=list)
    parameter: "_Node | None" = None
    rest: Methods = field(default_factory=dict)


class RouteTable:
    """Finds the route for a method and a path. A literal segment wins over a parameter, whatever the order.

    What is for services only keeps its place and is never found: left out, `/orders/totals` would be forwarded as an
    `/orders/{order_id}`, and the service would take it for what it is.

    Args:
        routes: all that the services have.

    Raises:
        ValueError: two services claim the same method and path, and not for services only.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(route for route in routes if route.routed)
        self._literal: dict[str, Methods] = {}
        self._root = _Node()
        for route in routes:
            methods = self._place(route.path)
            other = methods.get(route.method)
            if other is not None and other.routed and route.routed:
                raise ValueError(
                    f"{route.method} {route.path} of {route.service} is {other.path} of {other.service} too"
                )
            if other is None or route.routed:
                methods[route.method] = route

    def find(self, method: str, path: str) -> "Route | tuple[str, ...]":
        """The route, or the methods that the path has (none: there is no such path).

        Args:
            method: Upper case; HEAD is served by GET where the path has no HEAD of its own.
            path: Percent-decoded, without a query.
        """
        route = self._decided(method, path)
        return route if route is not None and route.routed else self.methods(path)

    def kept_back(self, method: str, path: str) -> Route | None:
        """The route that is not found because it is for services only; None where that is not why."""
        route = self._decided(method, path)
        return None if route is None or route.routed else route

    def methods(self, path: str) -> tuple[str, ...]:
        """The HTTP methods that the path has; none where there is no such path."""
        routes: Methods = {}
        for methods in self._candidates(path, self._literal.get(path)):
            routes = methods | routes
        allowed = {method for method, route in routes.items() if route.routed}
        if "GET" in allowed:
            allowed.add("HEAD")
        return tuple(sorted(allowed - {WEBSOCKET}))

    def entries(self) -> Iterator[Methods]:
        """What each shape of path has, services-only routes among it, in the order in which shapes count.

        Of those that a path fits, the first that has the method decides.
        """
        yield from self._literal.values()
        yield from _entries(self._root)

    def _decided(self, method: str, path: str) -> Route | None:
        """The route, whomever it is for."""
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

    def _place(self, template: str) -> Methods:
        if "{" not in template:
            return self._literal.setdefault(template, {})
        node = self._root
        segments = template[1:].split("/")
        for number, segment in enumerate(segments, start=1):
            if segment.endswith(":path}") and segment.startswith("{"):
                if number != len(segments):
                    raise ValueError(f"{template}: a path parameter can only come last")
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
    for known, child in node.patterns:
        if known.pattern == pattern.pattern:
            return child
    node.patterns.append((pattern, _Node()))
    return node.patterns[-1][1]


def _piece(piece: str) -> str:
    return "[^/]+" if piece.startswith("{") else re.escape(piece)


def _entries(node: _Node) -> Iterator[Methods]:
    """The method tables below, in the order of `_walk`."""
    if node.methods:
        yield node.methods
    for child in (*node.literals.values(), *(child for _, child in node.patterns)):
        yield from _entries(child)
    if node.parameter is not None:
        yield from _entries(node.parameter)
    if node.rest:
        yield node.rest


def _walk(node: _Node, segments: list[str], at: int) -> Iterator[Methods]:
    """The method tables that the segments lead to, the most literal first."""
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
