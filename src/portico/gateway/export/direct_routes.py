"""Route entries: the service for each method and path, for a proxy that forwards directly to the services."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from portico.gateway.export.options import seconds
from portico.gateway.export.public_routes import PublicRoutes
from portico.gateway.export.route_classes import RouteClass
from portico.gateway.limits import Rate
from portico.gateway.policy import Policy
from portico.gateway.routes import WEBSOCKET, Methods, Route

SERVICES_ONLY_TARGET = "services_only"
"""Target of routes that only services may call."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Requests with one target.

    Args:
        methods: HTTP methods; a WebSocket handshake is a GET.
        route_class: The path.
        target: `service:rate:milliseconds:origins`, or SERVICES_ONLY_TARGET. Streams have no milliseconds. `origins` is
            `any` if pages of every origin may read the response.
    """

    methods: tuple[str, ...]
    route_class: RouteClass
    target: str


@dataclass(frozen=True, slots=True)
class DirectRoutes:
    """The routes of a system for a proxy without the gateway.

    Args:
        entries: Routes in order of precedence: the first match decides.
        public: Public routes, without the gateway's own pages.
        rates: Rates that the routes use.
    """

    entries: tuple[Entry, ...]
    public: PublicRoutes
    rates: tuple[Rate, ...]
    services: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, policy: Policy) -> "DirectRoutes":
        """Return the routes of `policy`."""
        public = PublicRoutes.of(policy, internal=())
        classes = [each for each in public.classes if not each.is_page]
        entries = [
            entry
            for methods in policy.table.entries()
            for entry in _entries(policy, methods, RouteClass.of(methods, policy.defaults))
        ]
        return cls(
            tuple(entries),
            PublicRoutes(classes, public.default),
            tuple(dict.fromkeys(map(policy.rate_of, policy.table.routes))),
            tuple(dict.fromkeys(route.service for route in policy.table.routes)),
        )

    def allowed(self) -> Iterator[tuple[RouteClass, tuple[str, ...]]]:
        """Yield the public methods of each path, for `Allow`. The first matching class decides."""
        classes = self.public.classes
        for number, each in enumerate(classes):
            if each.is_public:
                later = [other for other in classes[number + 1 :] if other.overlaps(each)]
                found = {method for other in (each, *later) for method in other.routes} - {WEBSOCKET}
                yield each, tuple(sorted(found | ({"HEAD"} if "GET" in found else set())))


def _entries(policy: Policy, methods: Methods, route_class: RouteClass) -> Iterator[Entry]:
    found: dict[str, list[str]] = {}
    for method, target in _targets(policy, methods).items():
        found.setdefault(target, []).append(method)
    for target, chosen in found.items():
        yield Entry(tuple(sorted(chosen)), route_class, target)


def _targets(policy: Policy, methods: Methods) -> Mapping[str, str]:
    """Return the target of each HTTP method."""
    targets = {method: _target(policy, route) for method, route in methods.items() if method != WEBSOCKET}
    if "GET" in targets:
        targets.setdefault("HEAD", targets["GET"])
    socket = methods.get(WEBSOCKET)
    if socket is not None and socket.is_routed and targets.get("GET", SERVICES_ONLY_TARGET) == SERVICES_ONLY_TARGET:
        targets["GET"] = _target(policy, socket)
    return targets


def _target(policy: Policy, route: Route) -> str:
    if not route.is_routed:
        return SERVICES_ONLY_TARGET
    timeout = "" if route.streams else str(seconds((route.timeout or policy.defaults.timeout) * 1000))
    return f"{route.service}:{policy.rate_of(route).name}:{timeout}:{'any' if route.any_origin else ''}"
