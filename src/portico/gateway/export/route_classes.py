"""Paths of one template, as a proxy in front sees them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from portico.gateway.policy import Limits
from portico.gateway.routes import WEBSOCKET, Methods, Route

_REST = ":path}"
_SPECIAL = re.compile(r"[.^$*+?()\[\]{}|\\]")


@dataclass(frozen=True, slots=True)
class ForwardLimits:
    """How requests are carried.

    Args:
        body_limit: Bytes a request's body may have.
        timeout: Seconds until an answer must have begun.
        streams: The answer goes on for as long as both sides like.
    """

    body_limit: int
    timeout: float
    streams: bool = False

    @classmethod
    def of(cls, route: Route, limits: Limits) -> "ForwardLimits":
        """How the gateway carries what comes by `route`."""
        limit = limits.body_limit if route.body_limit is None else route.body_limit
        return cls(limit, route.timeout or limits.timeout, route.streams)

    def widened(self, other: "ForwardLimits") -> "ForwardLimits":
        """What does for both."""
        return ForwardLimits(
            max(self.body_limit, other.body_limit), max(self.timeout, other.timeout), self.streams or other.streams
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """Paths of one template.

    Args:
        template: Such as "/orders/{order_id}".
        routes: What is routed there, by method or WEBSOCKET.
        services_only: The methods that only services may use.
        page: Whether it is one of the gateway's own pages, and for whom.
    """

    template: str
    routes: Mapping[str, ForwardLimits] = field(default_factory=dict)
    services_only: frozenset[str] = frozenset()
    page: bool = False
    internal: bool = False

    @classmethod
    def of(cls, methods: Methods, limits: Limits) -> "Shape":
        """The shape of one entry of the route table."""
        routed = {name: ForwardLimits.of(route, limits) for name, route in methods.items() if route.routed}
        kept = methods.keys() - routed.keys() - {WEBSOCKET}
        if "GET" in kept and "HEAD" not in methods:
            kept |= {"HEAD"}
        return cls(next(iter(methods.values())).path, routed, frozenset(kept))

    @property
    def is_literal(self) -> bool:
        return "{" not in self.template

    @property
    def is_known(self) -> bool:
        """Whether there is anything for outside."""
        return not self.internal and (self.page or bool(self.routes))

    @property
    def pattern(self) -> str:
        """The regular expression that a whole path fits, in what PCRE, RE2 and Python have in common."""
        return f"^{''.join('/' + _pattern(segment) for segment in self.segments)}$"

    def has(self, method: str) -> bool:
        """Whether `method` is routed there."""
        return method in self.routes or (method == "HEAD" and "GET" in self.routes)

    def meets(self, other: "Shape") -> bool:
        """Whether a path can fit both. Of two patterns it may say so although none does, never the other way round."""
        mine, theirs = self.segments, other.segments
        for one, another in zip(mine, theirs, strict=False):
            if one.endswith(_REST) or another.endswith(_REST):
                return True
            if not _meet(one, another):
                return False
        return len(mine) == len(theirs)

    @property
    def segments(self) -> list[str]:
        return self.template[1:].split("/")


def _pattern(segment: str) -> str:
    if segment.endswith(_REST):
        return "(?s:.*)"
    pieces = re.split(r"(\{[^{}]+\})", segment)
    return "".join("[^/]+" if piece.startswith("{") else _SPECIAL.sub(r"\\\g<0>", piece) for piece in pieces)


def _meet(one: str, another: str) -> bool:
    """Whether a segment can fit both."""
    if "{" in one and "{" in another:
        return True
    if "{" in another:
        one, another = another, one
    return re.fullmatch(_pattern(one), another) is not None
