"""The dynamic configuration for Traefik 3, for its file provider."""

from collections.abc import Iterable, Sequence

from portico.gateway.export.options import (
    CONNECT_SECONDS,
    IDLE,
    KEPT_CONNECTIONS,
    MARGIN_SECONDS,
    ExportOptions,
    Lines,
    apart,
    heading,
    seconds,
    slug,
)
from portico.gateway.export.public_routes import ANY_METHOD, Rule, Surface
from portico.gateway.export.route_classes import ForwardLimits, Shape
from portico.gateway.routes import WEBSOCKET
from portico.kit.http.router import SAFE_METHODS
from portico.kit.runtime.system import System

_PRIORITY = 10_000  # a router of somebody else's that takes everything has the length of its rule, which is less


def traefik(system: System, surface: Surface, front: ExportOptions) -> str:
    """What Traefik has to be told to stand in front of `system`."""
    return "\n".join(_File(system, surface, front).lines()) + "\n"


class _File:
    """Safe requests and others have routers of their own: only the ones are repeated, only the others have bodies."""

    def __init__(self, system: System, surface: Surface, front: ExportOptions) -> None:
        self._system = system
        self._surface = surface
        self._front = front
        self._name = slug(system.name)
        unusual = [surface.carriage(shape) for shape in surface.unusual]
        self._carriages = list(dict.fromkeys([surface.usual, *unusual]))

    def lines(self) -> Lines:
        blocks = [
            _block("routers", self._routers()),
            _block("middlewares", self._middlewares()),
            _block("services", [line for lines in self._services().values() for line in lines]),
            _block("serversTransports", [line for timeout in self._timeouts() for line in self._transport(timeout)]),
        ]
        return [*heading(self._system.name, "traefik"), *_PLACE, "", *_block("http", apart(blocks))]

    def _routers(self) -> Lines:
        """The unusual ones first. What one of them lacks, such as a method, is left to the usual ones."""
        surface = self._surface
        lines: Lines = []
        for number, shape in enumerate(reversed(surface.unusual), start=1):
            name, carriage = f"{self._name}-{number}-{slug(shape.template)}", surface.carriage(shape)
            kinds = [safe for safe in (True, False) if _has(shape, safe=safe)]
            lines = self._routers_of(name, [shape], carriage, _PRIORITY + number, kinds) + lines
        return lines + self._routers_of(self._name, surface.known, surface.usual, _PRIORITY, (True, False))

    def _routers_of(
        self, name: str, shapes: Sequence[Shape], carriage: ForwardLimits, priority: int, kinds: Sequence[bool]
    ) -> Lines:
        """For each of `kinds` a router: True is that of safe requests, False that of others."""
        lines: Lines = []
        for safe in kinds:
            middleware = "retry" if safe else f"body-{carriage.body_limit}"
            chosen = ["forwarded"] if carriage.streams else ["forwarded", middleware]
            lines += [
                f"{name}-{'safe' if safe else 'other'}:",
                f"  priority: {priority}",
                f"  middlewares: [{', '.join(f'{self._name}-{each}' for each in chosen)}]",
                f"  service: {self._service_name(carriage)}",
                "  rule: >-",
                *(f"    {line}" for line in self._rule(shapes, safe=safe)),
            ]
        return lines

    def _rule(self, shapes: Sequence[Shape], *, safe: bool) -> Lines:
        """Conditions that all have to hold, a line each but for the paths."""
        rules = [
            rule
            for rule in self._surface.rules
            if any(shape.meets(rule.shape) for shape in shapes)
            and (rule.methods == ANY_METHOD or any((method in SAFE_METHODS) == safe for method in rule.methods))
        ]
        kept_back = _kept_back(rules)
        conditions = [
            *([_either(f"Host(`{host}`)" for host in self._front.hosts)] if self._front.hosts else []),
            ("" if safe else "!") + _either(f"Method(`{method}`)" for method in sorted(SAFE_METHODS)),
            *([f"!({kept_back})"] if kept_back else []),
        ]
        paths = [f"{_path(shape)} ||" for shape in shapes[:-1]] + [_path(shapes[-1])]
        return [*(f"{condition} &&" for condition in conditions), "(", *paths, ")"]

    def _middlewares(self) -> Lines:
        limits = sorted({carriage.body_limit for carriage in self._carriages if not carriage.streams})
        lines = [
            f"{self._name}-forwarded:",
            "  headers:",
            "    # Traefik replaces what strangers say in X-Forwarded-*, and lets this through.",
            '    customRequestHeaders: {Forwarded: ""}',
            f"{self._name}-retry:",
            "  retry: {attempts: 2, initialInterval: 50ms}",
        ]
        for limit in limits:
            lines += [f"{self._name}-body-{limit}:", f"  buffering: {{maxRequestBodyBytes: {limit}}}"]
        return lines

    def _services(self) -> dict[str, Lines]:
        return {self._service_name(carriage): self._service(carriage) for carriage in self._carriages}

    def _service(self, carriage: ForwardLimits) -> Lines:
        streaming = ["    responseForwarding: {flushInterval: -1ms}"] if carriage.streams else []
        return [
            f"{self._service_name(carriage)}:",
            "  loadBalancer:",
            f"    serversTransport: {self._transport_name(seconds(carriage.timeout))}",
            "    healthCheck: {path: /health/ready, interval: 5s, timeout: 2s}",
            *streaming,
            "    servers:",
            *(f'      - url: "http://{gateway}"' for gateway in self._front.gateways),
        ]

    def _timeouts(self) -> list[int]:
        return list(dict.fromkeys(seconds(carriage.timeout) for carriage in self._carriages))

    def _transport(self, timeout: int) -> Lines:
        return [
            f"{self._transport_name(timeout)}:",
            f"  maxIdleConnsPerHost: {KEPT_CONNECTIONS}",
            "  forwardingTimeouts:",
            f"    dialTimeout: {CONNECT_SECONDS}s",
            f"    responseHeaderTimeout: {timeout + MARGIN_SECONDS}s",
            "    # Less than the gateway keeps an idle connection: no request goes out on one that it is closing.",
            f"    idleConnTimeout: {IDLE}s",
        ]

    def _service_name(self, carriage: ForwardLimits) -> str:
        return self._transport_name(seconds(carriage.timeout)) + ("-streams" if carriage.streams else "")

    def _transport_name(self, timeout: int) -> str:
        return f"{self._name}-{timeout}s"


_PLACE = [
    "#",
    "# For Traefik 3: name this file, or its folder, in providers.file of the static configuration. Ports, TLS and, if",
    "# there is another proxy in front of this one, forwardedHeaders.trustedIPs belong to the entry points, there too.",
    "# What no router takes is answered with 404.",
]


def _has(shape: Shape, *, safe: bool) -> bool:
    if safe:
        return shape.page or bool(shape.routes.keys() & {*SAFE_METHODS, WEBSOCKET})
    return bool(shape.routes.keys() - SAFE_METHODS - {WEBSOCKET})


def _path(shape: Shape) -> str:
    return f"Path(`{shape.template}`)" if shape.is_literal else f"PathRegexp(`{shape.pattern}`)"


def _kept_back(rules: Sequence[Rule]) -> str:
    """What is true where the first rule that fits keeps back; nothing where none does."""
    found = ""
    for rule in reversed(rules):
        fits = _path(rule.shape)
        if rule.methods != ANY_METHOD:
            fits = f"{_either(f'Method(`{method}`)' for method in sorted(rule.methods))} && {fits}"
        if rule.kept_back:
            found = f"({fits}) || {found}" if found else f"({fits})"
        elif found:
            found = f"(!({fits}) && ({found}))"
    return found


def _either(conditions: Iterable[str]) -> str:
    return f"({' || '.join(conditions)})"


def _block(name: str, lines: Lines) -> Lines:
    return [f"{name}:", *(f"  {line}" if line else "" for line in lines)]
