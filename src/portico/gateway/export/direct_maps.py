"""NGINX maps for a system without a gateway: they find the route of a request and the values for that route."""

from collections.abc import Sequence
from math import ceil

from portico.gateway.cors import EXPOSED, MAX_AGE
from portico.gateway.export.direct_routes import DirectRoutes, Entry
from portico.gateway.export.nginx_blocks import block, quote, short
from portico.gateway.export.options import Lines, join_blocks, slug
from portico.gateway.export.route_classes import RouteClass
from portico.gateway.forwarding import SECURITY_FIELDS
from portico.gateway.limits import Rate

ADDRESS_FACTOR = 10
"""Factor between the rate of an address and that of a caller. NGINX does not verify tokens; clients can invent them."""
SOCKET_FIELDS = ("key", "version", "protocol", "extensions")
_PATH = r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+"
_UNCLEAR = (
    r"^[^?]*//",
    r"^[^?]*/(?:\.|%2e){1,2}(?:/|\?|$)",
    r"^[^?]*%(?:2f|5c|7f|[01][0-9a-f])",
)
_MAX_KEY_LENGTH = 40
"""Maximum length of a literal in a map with the default bucket size. Longer paths become regular expressions."""


class DirectMaps:
    """The maps and counters of a system.

    Args:
        name: Prefix of all names.
        routes: The routes.
        origins: Origins whose pages may read responses, with credentials.
        default: The default rate. An address may send ADDRESS_FACTOR times as much.
    """

    def __init__(self, name: str, routes: DirectRoutes, origins: Sequence[str], default: Rate) -> None:
        self._name = name
        self._routes = routes
        self._origins = origins
        self._default = default

    def lines(self) -> Lines:
        """Return the maps and the zones of rate limits."""
        return join_blocks([self._route_map(), self._allowed_map(), *self._maps(), self._zones()])

    def limits(self) -> Lines:
        """Return the directives that limit the rates of requests."""
        lines = [_limit(self._zone(rate), rate.requests) for rate in self._routes.rates]
        return [*lines, _limit(self._name, self._default.requests * ADDRESS_FACTOR), "limit_req_status 429;"]

    def var(self, name: str) -> str:
        """Return the variable `name` of this system, with its dollar sign."""
        return f"${self._name}_{name}"

    def _map(self, source: str, name: str, *lines: str) -> Lines:
        return block(f"map {source} {self.var(name)}", list(lines))

    def group(self, service: str) -> str:
        """Return the name of the instances of a service."""
        return f"{self._name}_{slug(service)}"

    def _route_map(self) -> Lines:
        """Return the map of routes. Literal paths come first, so that NGINX finds them by their hash."""
        comment = "# service:rate:deadline in milliseconds:origins of each route. The first match decides."
        lines = ['default "";', *(line for entry in self._routes.entries for line in _keys(entry))]
        preflight = self._map(
            '"$request_method:$http_access_control_request_method"',
            "method",
            "default $request_method;",
            f'"~^OPTIONS:(?<{self._name}_asked>[A-Z]+)$" {self.var("asked")};',
        )
        source = f'"{self.var("method")} $uri"'
        routes = self._map(source, "route", *lines)
        return ["# A preflight request concerns the method that it names.", *preflight, "", comment, *routes]

    def _allowed_map(self) -> Lines:
        lines = [f'{_path_key(each)} "{", ".join(methods)}";' for each, methods in self._routes.allowed() if methods]
        return ["# Methods of each path.", *self._map("$uri", "allow", 'default "";', *lines)]

    def _maps(self) -> list[Lines]:
        route, var = self.var("route"), self.var
        services = [f'"~^{service}:" {self.group(service)};' for service in self._routes.services]
        captured = f'"~^[^:]+:[^:]+:(?<{self._name}_ms>[0-9]+):" {var("ms")};'
        sent = "preflight"
        return [
            self._map(route, "service", 'default "";', *services),
            self._map(route, "deadline", 'default "";', captured),
            self._map("$request_uri", "unclear", *_unclear_lines()),
            self._map(
                f'"$request_method:$http_access_control_request_method:{var("allow")}"',
                sent,
                "default 0;",
                '"~^OPTIONS:.+:." 1;',
            ),
            self._map(f'"{var("service")}:{var("allow")}"', "unrouted", "default 0;", '"~^:$" 404;', '"~^:." 405;'),
            self._map(
                "$http_x_request_id", "id", "default $request_id;", r'"~^[A-Za-z0-9._:-]{1,128}$" $http_x_request_id;'
            ),
            self._map(
                "$http_traceparent",
                "trace",
                'default "";',
                '"~^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$" $http_traceparent;',
            ),
            *self._socket_maps(),
            *self._origin_maps(),
            *self._field_maps(),
        ]

    def _socket_maps(self) -> list[Lines]:
        """Return the maps for an upgrade. Only stream routes forward it."""
        stream = f'"{self.var("service")}:{self.var("deadline")}:$http_upgrade"'
        fits = '"~*^[^:]+::websocket$"'
        maps = [
            self._map(stream, "upgrade", 'default "";', f"{fits} websocket;"),
            self._map(stream, "connection", 'default "";', f"{fits} upgrade;"),
        ]
        fields = [
            self._map(self.var("upgrade"), f"ws_{name}", 'default "";', f"websocket $http_sec_websocket_{name};")
            for name in SOCKET_FIELDS
        ]
        return [*maps, *fields]

    def _origin_maps(self) -> list[Lines]:
        var = self.var
        exact = [f'"{origin}" "{origin}";' for origin in self._origins]
        return [
            self._map("$http_origin", "known", 'default "";', *exact),
            self._map(var("route"), "any", 'default "";', '"~:any$" "*";'),
            self._map(var("known"), "origin", f"default {var('known')};", f'"" {var("any")};'),
            self._map(var("known"), "credentials", 'default "true";', '"" "";'),
            self._map(var("origin"), "exposed", f'default "{EXPOSED.decode()}";', '"" "";'),
            self._map(var("origin"), "methods", f"default {var('allow')};", '"" "";'),
            self._map(var("origin"), "fields", "default $http_access_control_request_headers;", '"" "";'),
            self._map(var("origin"), "max_age", f"default {MAX_AGE.decode()};", '"" "";'),
        ]

    def _field_maps(self) -> list[Lines]:
        """Return the maps of security fields. Each is empty if the service sets its own."""
        return [
            self._map(f"$upstream_http_{_underscored(name)}", f"f{number}", 'default "";', f'"" "{value.decode()}";')
            for number, (name, value) in enumerate(SECURITY_FIELDS)
        ]

    def _zones(self) -> Lines:
        """Return the zones of rate limits: for each rate the caller or address, and all requests of an address."""
        var = self.var
        address = self._map(
            "$remote_addr",
            "address",
            "default $binary_remote_addr;",
            f'"~^(?<{self._name}_net>[0-9a-f]+(?::[0-9a-f]+){{0,2}})::" {var("net")};',
            f'"~^(?<{self._name}_net>[0-9a-f]+(?::[0-9a-f]+){{3}}):" {var("net")};',
        )
        signed = rf'"~*^bearer +[a-z0-9_-]+\.[a-z0-9_-]+\.(?<{self._name}_sig>[a-z0-9_-]{{32}})" {var("sig")};'
        caller = self._map("$http_authorization", "caller", f"default {var('address')};", signed)
        lines = ["# An address, or its /64 network in IPv6.", *address, *caller]
        waits = []
        for rate in self._routes.rates:
            counted = var("address" if rate.scope == "address" else "caller")
            key = f"key_{short(slug(rate.name))}"
            lines += self._map(var("route"), key, 'default "";', f'"~^[^:]+:{rate.name}:" {counted};')
            lines.append(f"limit_req_zone {var(key)} zone={self._zone(rate)}:10m rate={_per_minute(rate)}r/m;")
            waits.append(f'"~^[^:]+:{rate.name}:" {max(1, ceil(60 / _per_minute(rate)))};')
        lines += self._map(var("route"), "wait", "default 1;", *waits)
        lines += self._map(var("service"), "key", f"default {var('address')};", '"" "";')
        most = _per_minute(self._default) * ADDRESS_FACTOR
        return [*lines, f"limit_req_zone {var('key')} zone={self._name}:10m rate={most}r/m;"]

    def _zone(self, rate: Rate) -> str:
        return f"{self._name}_{short(slug(rate.name))}"


def _keys(entry: Entry) -> Lines:
    """Return the lines of the map of routes."""
    route_class, target = entry.route_class, entry.target
    if route_class.is_literal and len(route_class.template) <= _MAX_KEY_LENGTH:
        return [f'"{method} {route_class.template}" {target};' for method in entry.methods]
    methods = "|".join(entry.methods)
    grouped = f"(?:{methods})" if "|" in methods else methods
    return [f'"~^{grouped} {quote(route_class.pattern[1:])}" {target};']


def _path_key(route_class: RouteClass) -> str:
    if route_class.is_literal and len(route_class.template) <= _MAX_KEY_LENGTH:
        return f'"{route_class.template}"'
    return f'"~{quote(route_class.pattern)}"'


def _unclear_lines() -> Lines:
    """Return the patterns that the gateway refuses in a path, because services could read it differently."""
    found = [f'"~*{pattern}" 1;' for pattern in _UNCLEAR]
    return ["default 1;", *found, rf'"~^{_PATH}(?:\?[\x21\x22\x24-\x7e]*)?$" 0;']


def _limit(zone: str, requests: int) -> str:
    burst = f" burst={requests - 1} nodelay" if requests > 1 else ""
    return f"limit_req zone={zone}{burst};"


def _per_minute(rate: Rate) -> int:
    """Return the rate for NGINX, which needs whole requests per minute."""
    return max(1, ceil(rate.requests * 60 / rate.seconds))


def _underscored(name: bytes) -> str:
    return name.decode().replace("-", "_")
