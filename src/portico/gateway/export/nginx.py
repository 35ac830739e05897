"""Configuration for NGINX in front of a gateway, to be included in its `http` block."""

from portico.gateway.export.nginx_blocks import (
    FORWARDED,
    block,
    error_page,
    forward_directives,
    listen_directives,
    location,
    quote,
    redirect,
    short,
    upstream,
)
from portico.gateway.export.options import ExportOptions, Lines, heading, join_blocks, slug
from portico.gateway.export.public_routes import ANY_METHOD, BlockRule, PublicRoutes
from portico.gateway.export.route_classes import ForwardLimits, RouteClass
from portico.kit.foundation.problems import BadGateway, ContentTooLarge, GatewayTimeout, NotFound, Problem
from portico.kit.runtime.system import System


def nginx(system: System, routes: PublicRoutes, options: ExportOptions) -> str:
    """Return the NGINX configuration for a proxy in front of `system`."""
    return "\n".join(_File(system, routes, options).lines()) + "\n"


class _File:
    def __init__(self, system: System, routes: PublicRoutes, options: ExportOptions) -> None:
        self._system = system
        self._routes = routes
        self._options = options
        self._name = f"portico_{short(slug(system.name))}"

    def lines(self) -> Lines:
        blocks = [
            [*heading(self._system.name, "nginx"), *_PLACE],
            upstream(self._name, self._options.gateways),
            self._public(),
            self._blocked(),
            self._upgrade(),
            *([] if self._options.tls is None else [redirect(self._options, self._options.tls)]),
            self._server(),
        ]
        return join_blocks(blocks)

    def _public(self) -> Lines:
        paths = [f'"~{quote(route_class.pattern)}" 1;' for route_class in self._routes.public]
        return block(f"map $uri ${self._name}_public", ["default 0;", *paths])

    def _blocked(self) -> Lines:
        comment = "# Methods for services only, on paths that also have public methods. The first match decides."
        lines = ["default 0;", *map(_rule, self._routes.rules)]
        return [comment, *block(f'map "$request_method $uri" ${self._name}_blocked', lines)]

    def _upgrade(self) -> Lines:
        return [
            *block(f"map $http_upgrade ${self._name}_upgrade", ['default "";', "~*^websocket$ websocket;"]),
            *block(f"map $http_upgrade ${self._name}_connection", ['default "";', "~*^websocket$ upgrade;"]),
        ]

    def _server(self) -> Lines:
        default = self._routes.default
        special = [(route_class, self._routes.limits_of(route_class)) for route_class in self._routes.special]
        return block(
            "server",
            [
                *listen_directives(self._options),
                "server_tokens off;",
                "merge_slashes off;  # the gateway refuses paths with empty segments",
                "",
                *self._body_limit(default.body_limit),
                "",
                'proxy_set_header Connection "";',
                *FORWARDED,
                *forward_directives(default),
                "",
                f"if (${self._name}_public = 0) {{ return 404; }}",
                f"if (${self._name}_blocked) {{ return 404; }}",
                "",
                *block("location /", [f"proxy_pass http://{self._name};"]),
                *(line for route_class, limits in special for line in ("", *self._location(route_class, limits))),
                *self._error_pages({default.body_limit, *(limits.body_limit for _, limits in special)}),
            ],
        )

    def _location(self, route_class: RouteClass, limits: ForwardLimits) -> Lines:
        stream = [
            f"proxy_set_header Upgrade ${self._name}_upgrade;",
            f"proxy_set_header Connection ${self._name}_connection;",
            *FORWARDED,  # a location with its own proxy_set_header inherits none
        ]
        default = self._routes.default
        return location(route_class, limits, default, target=self._name, limit_body=self._body_limit, stream=stream)

    def _body_limit(self, body_limit: int) -> Lines:
        """Return the body limit and all error pages: a location with its own error_page inherits none."""
        pages = {404: "404", 413: f"413_{body_limit}", 502: "502", 504: "504"}
        directives = [f"error_page {status} @{self._name}_{name};" for status, name in pages.items()]
        return [f"client_max_body_size {body_limit};", *directives]

    def _error_pages(self, body_limits: set[int]) -> Lines:
        """Return the named locations for errors of NGINX itself, with the gateway's problem documents."""
        problems: dict[str, Problem] = {"404": NotFound()}
        problems |= {f"413_{limit}": ContentTooLarge(limit=limit) for limit in sorted(body_limits)}
        problems |= {"502": BadGateway(), "504": GatewayTimeout()}
        return [line for name, problem in problems.items() for line in ("", *self._page(name, problem))]

    def _page(self, name: str, problem: Problem) -> Lines:
        return error_page(f"{self._name}_{name}", problem, self._system.case)


_PLACE = [
    "#",
    "# Include this file in the http block, for example as conf.d/*.conf or sites-enabled/*. If another proxy is in front",
    "# of this one, set real_ip_header and set_real_ip_from so that NGINX knows the client's address.",
]


def _rule(rule: BlockRule) -> str:
    method = r"\S+" if rule.methods == ANY_METHOD else "|".join(sorted(rule.methods))
    grouped = f"(?:{method})" if "|" in method else method
    return f'"~^{grouped} {quote(rule.route_class.pattern[1:])}" {int(rule.is_blocked)};'
