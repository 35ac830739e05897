"""Configuration for NGINX that forwards directly to the services, without a gateway.

The services verify tokens. Maps find the route of a request, and its service, rate and deadline.
"""

from collections.abc import Mapping, Sequence

from portico.gateway.export.direct_maps import ADDRESS_FACTOR, SOCKET_FIELDS, DirectMaps
from portico.gateway.export.direct_routes import SERVICES_ONLY_TARGET, DirectRoutes
from portico.gateway.export.nginx_blocks import (
    FORWARDED,
    block,
    error_page,
    forward_directives,
    listen_directives,
    location,
    redirect,
    short,
    upstream,
)
from portico.gateway.export.options import ExportOptions, Lines, join_blocks, slug
from portico.gateway.export.route_classes import ForwardLimits, RouteClass
from portico.gateway.forwarding import GATEWAY_ONLY, SECURITY_FIELDS
from portico.gateway.policy import DEFAULT_RATE, Policy
from portico.gateway.request_head import GUARDED
from portico.kit.foundation.problems import (
    BadGateway,
    BadRequest,
    ContentTooLarge,
    GatewayTimeout,
    MethodNotAllowed,
    NotFound,
    Problem,
    TooManyRequests,
)
from portico.kit.runtime.system import System

DIFFERENCES = (
    "Tokens are not verified here. Services verify them. Callers are counted by the signature of their token, and each",
    f"  address may send {ADDRESS_FACTOR} times the rate of a caller, because clients can invent tokens.",
    "Rate limits are leaky buckets (limit_req) of this NGINX, not sliding windows, and not shared with other proxies.",
    "Responses have no RateLimit and RateLimit-Policy fields.",
    "No circuit breakers and no retry budget: max_fails and proxy_next_upstream only.",
    "No own pages of the gateway: /, /health, /openapi.json, /docs, /redoc, /metrics are not found.",
    "No limit of simultaneous requests for each client, and no minimum speed of bodies.",
    "Traces begin in the service: a valid traceparent is passed on, tracestate is not. No metrics of the gateway.",
    "Fields that Connection names are passed on. Of X-Forwarded-*, X-Envoy-* and X-Portico-*, known names are removed.",
    "Permissions are checked by the service only, after it has received the request.",
    "NGINX is more lenient with request heads. It writes a new head, so services do not see white space, bare LFs or",
    "  trailers that the gateway refuses.",
    "Requests that NGINX cannot read get a page of NGINX, not a problem document.",
    "OAuth routes get problem documents, not OAuth errors, for what NGINX refuses.",
    "The default access log of NGINX contains query strings, and so tickets of WebSockets.",
)
"""Features of the gateway that this configuration lacks."""

_SET_ELSEWHERE = frozenset(
    b"connection keep-alive te transfer-encoding upgrade host expect forwarded".split()
    + b"x-request-id x-request-deadline-ms traceparent".split()
)
_PREFIXED = (
    *(f"x-forwarded-{name}" for name in ("by", "client-cert", "email", "groups", "method", "path", "port", "prefix")),
    *(f"x-forwarded-{name}" for name in ("scheme", "server", "ssl", "uri", "user", "access-token")),
    *(f"x-envoy-{name}" for name in ("attempt-count", "external-address", "internal", "original-path")),
    "x-envoy-expected-rq-timeout-ms",
)
_RETRY_AFTER = 86_420
"""Placeholder in the document. NGINX replaces it by a variable."""
# Statuses inside NGINX that lead to a named location. NGINX's own 400 for a malformed head leads to none.
_PREFLIGHT, _UNCLEAR = 418, 419
_REASON = "the path contains segments or characters that are not allowed"


def nginx_direct(system: System, policy: Policy, options: ExportOptions, services: Mapping[str, Sequence[str]]) -> str:
    """Return the NGINX configuration for a proxy in front of the services of `system`.

    Args:
        system: The system.
        policy: The policy of its gateway, which defines the routes and limits.
        options: The options, such as the ports of NGINX.
        services: `host:port` of each instance, by name of the service.
    """
    return "\n".join(_File(system, policy, options, services).lines()) + "\n"


class _File:
    def __init__(
        self, system: System, policy: Policy, options: ExportOptions, services: Mapping[str, Sequence[str]]
    ) -> None:
        self._system = system
        self._options = options
        self._services = services
        self._routes = DirectRoutes.of(policy)
        self._origins = policy.cors.origins
        self._name = f"portico_{short(slug(system.name))}"
        self._maps = DirectMaps(self._name, self._routes, self._origins, policy.defaults.rates[DEFAULT_RATE])

    def lines(self) -> Lines:
        tls = self._options.tls
        blocks = [
            _heading(self._system.name),
            *(upstream(self._maps.group(each), self._services[each]) for each in self._routes.services),
            self._maps.lines(),
            *([] if tls is None else [redirect(self._options, tls)]),
            self._server(),
        ]
        return join_blocks(blocks)

    def _server(self) -> Lines:
        public = self._routes.public
        special = [(each, public.limits_of(each)) for each in public.special]
        sizes = {public.default.body_limit, *(limits.body_limit for _, limits in special)}
        return block(
            "server",
            [
                *listen_directives(self._options),
                "server_tokens off;",
                "merge_slashes off;",
                "",
                *self._body_limit(public.default.body_limit),
                "",
                *self._request_fields(),
                "",
                *self._response_fields(),
                "",
                *forward_directives(public.default),
                "",
                *self._maps.limits(),
                "",
                *self._decisions(),
                "",
                *block("location /", [f"proxy_pass http://{self._maps.var('service')};"]),
                *(line for each, limits in special for line in ("", *self._location(each, limits))),
                *self._error_pages(sizes),
            ],
        )

    def _decisions(self) -> Lines:
        var = self._maps.var
        return [
            f"if ({var('unclear')}) {{ return {_UNCLEAR}; }}",
            f"if ({var('preflight')}) {{ return {_PREFLIGHT}; }}",
            f"if ({var('route')} = {SERVICES_ONLY_TARGET}) {{ return 404; }}",
            f"if ({var('unrouted')} = 404) {{ return 404; }}",
            f"if ({var('unrouted')} = 405) {{ return 405; }}",
        ]

    def _request_fields(self) -> Lines:
        var = self._maps.var
        names = sorted(name.decode() for name in GUARDED - _SET_ELSEWHERE)
        return [
            "proxy_headers_hash_max_size 1024;",
            "proxy_headers_hash_bucket_size 128;",
            *FORWARDED,
            f"proxy_set_header X-Request-ID {var('id')};",
            f"proxy_set_header X-Request-Deadline-Ms {var('deadline')};",
            f"proxy_set_header traceparent {var('trace')};",
            f"proxy_set_header Upgrade {var('upgrade')};",
            f"proxy_set_header Connection {var('connection')};",
            *(f"proxy_set_header Sec-WebSocket-{name.capitalize()} {var('ws_' + name)};" for name in SOCKET_FIELDS),
            "# Clients may not send these.",
            *(f'proxy_set_header {name} "";' for name in (*names, *_PREFIXED, "sec-websocket-accept")),
        ]

    def _response_fields(self) -> Lines:
        dropped = sorted(name.decode() for name in GATEWAY_ONLY if name.startswith((b"x-", b"ratelimit", b"access-")))
        return [
            *(f"proxy_hide_header {name};" for name in dropped),
            f"add_header X-Request-ID {self._maps.var('id')} always;",
            *self._added_fields(),
        ]

    def _added_fields(self) -> Lines:
        var = self._maps.var
        return [
            *(
                f"add_header {name.decode()} {var(f'f{number}')} always;"
                for number, (name, _) in enumerate(SECURITY_FIELDS)
            ),
            f"add_header Access-Control-Allow-Origin {var('origin')} always;",
            f"add_header Access-Control-Allow-Credentials {var('credentials')} always;",
            f"add_header Access-Control-Expose-Headers {var('exposed')} always;",
        ]

    def _location(self, route_class: RouteClass, limits: ForwardLimits) -> Lines:
        default = self._routes.public.default
        target = self._maps.var("service")
        return location(route_class, limits, default, target=target, limit_body=self._body_limit)

    def _body_limit(self, body_limit: int) -> Lines:
        """Return the body limit and all error pages: a location with its own error_page inherits none."""
        directives = [f"error_page {status} @{self._name}_{status};" for status in (404, 405, 429, 502, 504)]
        return [
            f"client_max_body_size {body_limit};",
            *directives,
            f"error_page 413 @{self._name}_413_{body_limit};",
            f"error_page {_PREFLIGHT} = @{self._name}_preflight;",
            f"error_page {_UNCLEAR} = @{self._name}_400;",
        ]

    def _error_pages(self, body_limits: set[int]) -> Lines:
        var = self._maps.var
        pages: dict[str, tuple[Problem, Lines]] = {
            "400": (BadRequest(reason=_REASON), []),
            "404": (NotFound(), []),
            "405": (MethodNotAllowed(allowed=var("allow")), [f"add_header Allow {var('allow')} always;"]),
            "429": (TooManyRequests(retry_after=_RETRY_AFTER), [f"add_header Retry-After {var('wait')} always;"]),
            "502": (BadGateway(), []),
            "504": (GatewayTimeout(), []),
        }
        pages |= {f"413_{limit}": (ContentTooLarge(limit=limit), []) for limit in sorted(body_limits)}
        lines: Lines = []
        for name, (problem, added) in pages.items():
            fields = [*self._added_fields(), *self._vary("Origin"), *added]
            lines += ["", *self._error_page(name, problem, fields)]
        return [*lines, "", *self._preflight()]

    def _error_page(self, name: str, problem: Problem, added: Lines) -> Lines:
        return error_page(
            f"{self._name}_{name}",
            problem,
            self._system.case,
            request_id=self._maps.var("id"),
            added=added,
            variables={str(_RETRY_AFTER): self._maps.var("wait")},
        )

    def _preflight(self) -> Lines:
        var = self._maps.var
        return block(
            f"location @{self._name}_preflight",
            [
                f"add_header X-Request-ID {var('id')} always;",
                *self._added_fields()[:-1],  # no exposed fields
                'add_header Vary "Origin, Access-Control-Request-Method, Access-Control-Request-Headers" always;',
                f"add_header Access-Control-Allow-Methods {var('methods')} always;",
                f"add_header Access-Control-Allow-Headers {var('fields')} always;",
                f"add_header Access-Control-Max-Age {var('max_age')} always;",
                "return 204;",
            ],
        )

    def _vary(self, value: str) -> Lines:
        return [f"add_header Vary {value} always;"] if self._origins else []


def _heading(system: str) -> Lines:
    return [
        f"# NGINX in front of the services of {system}. Generated by `portico export nginx --direct`; do not edit.",
        "#",
        "# Set TRUSTED_PROXIES of the services to the address from which this proxy connects, and CORS_ORIGINS, the rate",
        "# limits, BODY_LIMIT and REQUEST_TIMEOUT as for a gateway before the export. Include this file in the http block.",
        "# If another proxy is in front of this one, set real_ip_header and set_real_ip_from.",
        "#",
        "# Unlike the gateway:",
        *(f"# {line}" if line.startswith(" ") else f"# - {line}" for line in DIFFERENCES),
    ]
