"""Public routes: what a proxy in front of the gateway may forward, compiled from the gateway's route table.

The proxy blocks all other requests. The gateway still checks the forwarded ones: caller, rate limit, method.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

from portico.gateway.export.route_classes import ForwardLimits, RouteClass
from portico.gateway.policy import Policy
from portico.gateway.routes import WEBSOCKET
from portico.gateway.system_policy import INTERNAL

ANY_METHOD = frozenset[str]()
"""Value for every method in a BlockRule."""


@dataclass(frozen=True, slots=True)
class BlockRule:
    """Whether requests with these methods to these paths are blocked. The first matching rule decides."""

    methods: frozenset[str]
    route_class: RouteClass
    is_blocked: bool


class PublicRoutes:
    """The routes that are reachable through a proxy, and their limits.

    Args:
        classes: All route classes, in order of precedence.
        default: Limits of routes that declare none.
    """

    def __init__(self, classes: Sequence[RouteClass], default: ForwardLimits) -> None:
        self.classes = tuple(classes)
        self.default = default

    @classmethod
    def of(cls, policy: Policy, internal: Collection[str] = INTERNAL) -> "PublicRoutes":
        """Return the public routes of `policy`, without the gateway's own pages that are `internal`."""
        defaults = policy.defaults
        pages = [RouteClass(path, is_page=True, is_internal=path in internal) for path in policy.own]
        routed = [RouteClass.of(methods, defaults) for methods in policy.table.entries()]
        reachable = [each for each in routed if each.template not in policy.own]
        return cls([*pages, *reachable], ForwardLimits(defaults.body_limit, defaults.timeout))

    @cached_property
    def public(self) -> list[RouteClass]:
        """The classes with at least one public route."""
        return [each for each in self.classes if each.is_public]

    @cached_property
    def special(self) -> list[RouteClass]:
        """The classes with their own limits, and the classes that overlap with them, in order of precedence."""
        chosen: list[RouteClass] = []
        for each in reversed(self.public):
            if self.limits_of(each) != self.default or any(each.overlaps(other) for other in chosen):
                chosen.insert(0, each)
        return chosen

    @cached_property
    def rules(self) -> list[BlockRule]:
        """The methods to block on public paths."""
        return [rule for each in self.classes for rule in self._rules(each)]

    def limits_of(self, route_class: RouteClass) -> ForwardLimits:
        """Return the widest limits of all routes that a path of this class can match, for any method.

        A proxy chooses limits by path only. The gateway enforces the exact limits of each method.
        """
        if route_class.is_page:
            return self.default
        limits = list(route_class.routes.values())
        for later in self._later(route_class):
            limits += [each for method, each in later.routes.items() if method not in route_class.routes]
        return reduce(ForwardLimits.widened, limits)

    def _rules(self, route_class: RouteClass) -> Iterator[BlockRule]:
        """Yield a rule for blocked methods, after one for allowed methods that a later class would block."""
        blocked_later = frozenset(method for other in self._later(route_class) for method in other.services_only)
        overlapping = [other for other in self.public if other.overlaps(route_class)]
        if route_class.is_page:
            if overlapping and (route_class.is_internal or blocked_later):
                yield BlockRule(ANY_METHOD, route_class, route_class.is_internal)
            return
        if allowed := frozenset(filter(route_class.has, blocked_later)):
            yield BlockRule(allowed, route_class, is_blocked=False)
        blocked = route_class.services_only
        if any(WEBSOCKET in other.routes for other in overlapping):
            blocked -= {"GET"}  # a WebSocket handshake is a GET; only the gateway distinguishes them
        if overlapping and blocked:
            yield BlockRule(blocked, route_class, is_blocked=True)

    def _later(self, route_class: RouteClass) -> Iterator[RouteClass]:
        """Yield the classes of lower precedence that a path of this class can match too."""
        following = self.classes[self.classes.index(route_class) + 1 :]
        return (other for other in following if other.overlaps(route_class))
