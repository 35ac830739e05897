"""Dynamic configuration for the file provider of Traefik 3."""

from collections.abc import Iterable, Sequence

from portico.gateway.export.options import (
    CONNECT_SECONDS,
    IDLE_TIMEOUT,
    KEEPALIVE_CONNECTIONS,
    MARGIN_SECONDS,
    ExportOptions,
    Lines,
    heading,
    join_blocks,
    seconds,
    slug,
)
from portico.gateway.export.public_routes import ANY_METHOD, BlockRule, PublicRoutes
from portico.gateway.export.route_classes import ForwardLimits, RouteClass
from portico.gateway.routes import WEBSOCKET
from portico.kit.http.router import SAFE_METHODS
from portico.kit.runtime.system import System

_PRIORITY = 10_000  # above the default priority of other routers, which is the length of their rule


def traefik(system: System, routes: PublicRoutes, options: ExportOptions) -> str:
    """Return the Traefik configuration for a proxy in front of `system`."""
    return "\n".join(_File(system, routes, options).lines()) + "\n"


class _File:
    """Safe and other requests have separate routers: only safe ones are retried, and only the others have bodies."""

    def __init__(self, system: System, routes: PublicRoutes, options: ExportOptions) -> None:
        self._system = system
        self._routes = routes
        self._options = options
        self._name = slug(system.name)
        special = [routes.limits_of(route_class) for route_class in routes.special]
        self._all_limits = list(dict.fromkeys([routes.default, *special]))

    def lines(self) -> Lines:
        blocks = [
            _block("routers", self._routers()),
            _block("middlewares", self._middlewares()),
            _block("services", [line for lines in self._services().values() for line in lines]),
            _block("serversTransports", [line for timeout in self._timeouts() for line in self._transport(timeout)]),
        ]
        return [*heading(self._system.name, "traefik"), *_PLACE, "", *_block("http", join_blocks(blocks))]

    def _routers(self) -> Lines:
        """Return the routers, special ones first. Methods that a special router lacks go to the default routers."""
        routes = self._routes
        lines: Lines = []
        for number, route_class in enumerate(reversed(routes.special), start=1):
            name, limits = f"{self._name}-{number}-{slug(route_class.template)}", routes.limits_of(route_class)
            kinds = [safe for safe in (True, False) if _has(route_class, safe=safe)]
            lines = self._routers_of(name, [route_class], limits, _PRIORITY + number, kinds) + lines
        return lines + self._routers_of(self._name, routes.public, routes.default, _PRIORITY, (True, False))

    def _routers_of(
        self, name: str, classes: Sequence[RouteClass], limits: ForwardLimits, priority: int, kinds: Sequence[bool]
    ) -> Lines:
        """Return one router for each of `kinds`: True for safe requests, False for others."""
        lines: Lines = []
        for safe in kinds:
            middleware = "retry" if safe else f"body-{limits.body_limit}"
            chosen = ["forwarded"] if limits.streams else ["forwarded", middleware]
            lines += [
                f"{name}-{'safe' if safe else 'other'}:",
                f"  priority: {priority}",
                f"  middlewares: [{', '.join(f'{self._name}-{each}' for each in chosen)}]",
                f"  service: {self._service_name(limits)}",
                "  rule: >-",
                *(f"    {line}" for line in self._rule(classes, safe=safe)),
            ]
        return lines

    def _rule(self, classes: Sequence[RouteClass], *, safe: bool) -> Lines:
        """Return the conditions of a rule, all of which must hold."""
        rules = [
            rule
            for rule in self._routes.rules
            if any(route_class.overlaps(rule.route_class) for route_class in classes)
            and (rule.methods == ANY_METHOD or any((method in SAFE_METHODS) == safe for method in rule.methods))
        ]
        blocked = _block_condition(rules)
        conditions = [
            *([_either(f"Host(`{host}`)" for host in self._options.hosts)] if self._options.hosts else []),
            ("" if safe else "!") + _either(f"Method(`{method}`)" for method in sorted(SAFE_METHODS)),
            *([f"!({blocked})"] if blocked else []),
        ]
        paths = [f"{_path(route_class)} ||" for route_class in classes[:-1]] + [_path(classes[-1])]
        return [*(f"{condition} &&" for condition in conditions), "(", *paths, ")"]

    def _middlewares(self) -> Lines:
        body_limits = sorted({limits.body_limit for limits in self._all_limits if not limits.streams})
        lines = [
            f"{self._name}-forwarded:",
            "  headers:",
            "    # Traefik replaces X-Forwarded-* of untrusted clients, but not this header.",
            '    customRequestHeaders: {Forwarded: ""}',
            f"{self._name}-retry:",
            "  retry: {attempts: 2, initialInterval: 50ms}",
        ]
        for limit in body_limits:
            lines += [f"{self._name}-body-{limit}:", f"  buffering: {{maxRequestBodyBytes: {limit}}}"]
        return lines

    def _services(self) -> dict[str, Lines]:
        return {self._service_name(limits): self._service(limits) for limits in self._all_limits}

    def _service(self, limits: ForwardLimits) -> Lines:
        streaming = ["    responseForwarding: {flushInterval: -1ms}"] if limits.streams else []
        return [
            f"{self._service_name(limits)}:",
            "  loadBalancer:",
            f"    serversTransport: {self._transport_name(seconds(limits.timeout))}",
            "    healthCheck: {path: /health/ready, interval: 5s, timeout: 2s}",
            *streaming,
            "    servers:",
            *(f'      - url: "http://{gateway}"' for gateway in self._options.gateways),
        ]

    def _timeouts(self) -> list[int]:
        return list(dict.fromkeys(seconds(limits.timeout) for limits in self._all_limits))

    def _transport(self, timeout: int) -> Lines:
        return [
            f"{self._transport_name(timeout)}:",
            f"  maxIdleConnsPerHost: {KEEPALIVE_CONNECTIONS}",
            "  forwardingTimeouts:",
            f"    dialTimeout: {CONNECT_SECONDS}s",
            f"    responseHeaderTimeout: {timeout + MARGIN_SECONDS}s",
            "    # Shorter than the gateway's own idle time-out, so that no request is sent on a closing connection.",
            f"    idleConnTimeout: {IDLE_TIMEOUT}s",
        ]

    def _service_name(self, limits: ForwardLimits) -> str:
        return self._transport_name(seconds(limits.timeout)) + ("-streams" if limits.streams else "")

    def _transport_name(self, timeout: int) -> str:
        return f"{self._name}-{timeout}s"


_PLACE = [
    "#",
    "# For Traefik 3: set this file, or its folder, as providers.file of the static configuration. Ports, TLS and, if",
    "# another proxy is in front of this one, forwardedHeaders.trustedIPs belong to the entry points of that file too.",
    "# Requests that match no router get a 404.",
]


def _has(route_class: RouteClass, *, safe: bool) -> bool:
    if safe:
        return route_class.is_page or bool(route_class.routes.keys() & {*SAFE_METHODS, WEBSOCKET})
    return bool(route_class.routes.keys() - SAFE_METHODS - {WEBSOCKET})


def _path(route_class: RouteClass) -> str:
    return f"Path(`{route_class.template}`)" if route_class.is_literal else f"PathRegexp(`{route_class.pattern}`)"


def _block_condition(rules: Sequence[BlockRule]) -> str:
    """Return a condition that is true if the first matching rule blocks; empty if no rule blocks."""
    condition = ""
    for rule in reversed(rules):
        fits = _path(rule.route_class)
        if rule.methods != ANY_METHOD:
            fits = f"{_either(f'Method(`{method}`)' for method in sorted(rule.methods))} && {fits}"
        if rule.is_blocked:
            condition = f"({fits}) || {condition}" if condition else f"({fits})"
        elif condition:
            condition = f"(!({fits}) && ({condition}))"
    return condition


def _either(conditions: Iterable[str]) -> str:
    return f"({' || '.join(conditions)})"


def _block(name: str, lines: Lines) -> Lines:
    return [f"{name}:", *(f"  {line}" if line else "" for line in lines)]
