"""The policy of a system's gateway. Commands use it too, so this module imports nothing that only serving needs."""

from collections.abc import Mapping

from portico.gateway.client_address import ClientNetworks, TrustedProxies
from portico.gateway.cors import Cors
from portico.gateway.limits import Rate
from portico.gateway.policy import OperatorPages, Policy, RouteDefaults
from portico.gateway.routes import RouteTable, routes_of
from portico.kit.http.docs import PATHS
from portico.kit.http.router import declared_routes
from portico.kit.runtime.system import System
from portico.kit.settings import Settings

START = "/"
SYSTEM_PATHS = (START, "/health", "/health/ready", "/health/detailed", "/metrics", "/openapi.json")
OWN_PATHS: Mapping[str, str] = {path: path for path in (*SYSTEM_PATHS, *PATHS)}
"""Paths of the gateway's own pages, for its policy."""
OPERATOR_PATHS = frozenset(("/health/detailed", "/metrics"))
"""Pages that only clients in OPERATOR_NETWORKS and callers with the permission `gateway:read` may read."""
INTERNAL = OPERATOR_PATHS | {"/health/ready"}
"""Pages that no client of the system needs; an exported proxy configuration does not forward them."""


def policy_of(system: System, settings: Settings) -> Policy:
    """Return the policy of the gateway of `system`. This needs no running service; `portico explain` uses it too."""
    routes = {
        each.name: declared_routes(each.service.routers, system.prefix, public_reads=settings.public_reads)
        for each in system.placements
    }
    table = RouteTable(routes_of(routes))
    rates = {
        "default": Rate("default", settings.rate_limit.limit, settings.rate_limit.window),
        "token": Rate("token", settings.rate_limit_token.limit, settings.rate_limit_token.window, "address"),
        "holds": Rate("holds", settings.rate_limit_holds.limit, settings.rate_limit_holds.window),
        "sign_in": Rate("sign_in", settings.rate_limit_sign_in.limit, settings.rate_limit_sign_in.window, "address"),
    }
    return Policy(
        table,
        defaults=RouteDefaults(rates=rates, timeout=settings.request_timeout, body_limit=settings.body_limit),
        cors=Cors(settings.cors_origins),
        proxies=TrustedProxies(str(network) for network in settings.trusted_proxies),
        own={path: name for path, name in OWN_PATHS.items() if path != START or not _routes_start(table)},
        operator_pages=OperatorPages(OPERATOR_PATHS, ClientNetworks(map(str, settings.operator_networks))),
    )


def _routes_start(table: RouteTable) -> bool:
    """Return whether a service has the path of the gateway's start page."""
    return any(route.path == START for route in table.routes)
