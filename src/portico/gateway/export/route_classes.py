"""Route classes: the routes of one path template, with their limits. A proxy in front matches paths, not routes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from portico.gateway.policy import RouteDefaults
from portico.gateway.routes import WEBSOCKET, Methods, Route

_REST = ":path}"
_SPECIAL = re.compile(r"[.^$*+?()\[\]{}|\\]")


@dataclass(frozen=True, slots=True)
class ForwardLimits:
    """Limits of forwarded requests.

    Args:
        body_limit: Maximum size of the request body in bytes.
        timeout: Seconds until the response must have begun.
        streams: Whether the response has no time limit.
    """

    body_limit: int
    timeout: float
    streams: bool = False

    @classmethod
    def of(cls, route: Route, defaults: RouteDefaults) -> "ForwardLimits":
        """Return the limits of `route`."""
        limit = defaults.body_limit if route.body_limit is None else route.body_limit
        return cls(limit, route.timeout or defaults.timeout, route.streams)

    def widened(self, other: "ForwardLimits") -> "ForwardLimits":
        """Return limits that are sufficient for both."""
        return ForwardLimits(
            max(self.body_limit, other.body_limit), max(self.timeout, other.timeout), self.streams or other.streams
        )


@dataclass(frozen=True)
class RouteClass:
    """The routes of one path template.

    Args:
        template: The template, such as "/orders/{order_id}".
        routes: Limits of the routed methods, by method or WEBSOCKET.
        services_only: Methods that only services may use.
        is_page: Whether the path is one of the gateway's own pages.
        is_internal: Whether the page is for operators only.
    """

    template: str
    routes: Mapping[str, ForwardLimits] = field(default_factory=dict)
    services_only: frozenset[str] = frozenset()
    is_page: bool = False
    is_internal: bool = False

    @classmethod
    def of(cls, methods: Methods, defaults: RouteDefaults) -> "RouteClass":
        """Return the class of one entry of the route table."""
        routed = {name: ForwardLimits.of(route, defaults) for name, route in methods.items() if route.is_routed}
        services_only = methods.keys() - routed.keys() - {WEBSOCKET}
        if "GET" in services_only and "HEAD" not in methods:
            services_only |= {"HEAD"}
        return cls(next(iter(methods.values())).path, routed, frozenset(services_only))

    @property
    def is_literal(self) -> bool:
        return "{" not in self.template

    @property
    def is_public(self) -> bool:
        """Whether any method is reachable through a proxy."""
        return not self.is_internal and (self.is_page or bool(self.routes))

    @property
    def pattern(self) -> str:
        """A regular expression for the whole path, in the syntax that PCRE, RE2 and Python share."""
        return f"^{''.join('/' + _pattern(segment) for segment in self.segments)}$"

    def has(self, method: str) -> bool:
        """Whether `method` is routed."""
        return method in self.routes or (method == "HEAD" and "GET" in self.routes)

    def overlaps(self, other: "RouteClass") -> bool:
        """Whether a path can match both templates. For two patterns this may be true although none can."""
        own, others = self.segments, other.segments
        for left, right in zip(own, others, strict=False):
            if left.endswith(_REST) or right.endswith(_REST):
                return True
            if not _segments_overlap(left, right):
                return False
        return len(own) == len(others)

    @cached_property
    def segments(self) -> list[str]:
        return self.template[1:].split("/")


def _pattern(segment: str) -> str:
    if segment.endswith(_REST):
        return "(?s:.*)"
    pieces = re.split(r"(\{[^{}]+\})", segment)
    return "".join("[^/]+" if piece.startswith("{") else _SPECIAL.sub(r"\\\g<0>", piece) for piece in pieces)


@lru_cache(4096)  # the templates of a system share most of their segments
def _segments_overlap(left: str, right: str) -> bool:
    if "{" in left and "{" in right:
        return True
    if "{" in right:
        left, right = right, left
    return re.fullmatch(_pattern(left), right) is not None
