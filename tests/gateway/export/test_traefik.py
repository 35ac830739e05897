"""Traefik is not run here: its file is checked against Traefik's documentation."""

import re
from typing import Any

import jsonschema_rs
import pytest
from tests.gateway.export.proxies import OPTIONS, SYSTEMS, Traefik, settings, usual_path

from portico.gateway import policy_of
from portico.gateway.export import ExportOptions, PublicRoutes, traefik
from portico.kit.runtime.system import System

NAME = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}  # an @ would refer to a provider
DURATION = {"type": "string", "pattern": r"^-?\d+(ms|s|m|h)$"}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these members only: Traefik refuses unknown members."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def named(each: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "propertyNames": NAME, "additionalProperties": each, "minProperties": 1}


# The part of Traefik 3's dynamic configuration (file provider) that the export uses.
ROUTER = closed(
    ["rule", "service"],
    rule={"type": "string"},
    priority={"type": "integer"},
    middlewares={"type": "array", "items": NAME},
    service=NAME,
)
MIDDLEWARE = {
    "oneOf": [
        closed(["headers"], headers=closed([], customRequestHeaders={"additionalProperties": {"type": "string"}})),
        closed(["retry"], retry=closed(["attempts"], attempts={"type": "integer"}, initialInterval=DURATION)),
        closed(["buffering"], buffering=closed([], maxRequestBodyBytes={"type": "integer"})),
    ]
}
BALANCER = closed(
    ["servers"],
    servers={"type": "array", "minItems": 1, "items": closed(["url"], url={"type": "string", "pattern": "^http://"})},
    serversTransport=NAME,
    healthCheck=closed(["path"], path={"type": "string"}, interval=DURATION, timeout=DURATION),
    responseForwarding=closed([], flushInterval=DURATION),
)
TRANSPORT = closed(
    [],
    maxIdleConnsPerHost={"type": "integer"},
    forwardingTimeouts=closed([], dialTimeout=DURATION, responseHeaderTimeout=DURATION, idleConnTimeout=DURATION),
)
DYNAMIC = closed(
    ["http"],
    http=closed(
        ["routers", "services"],
        routers=named(ROUTER),
        middlewares=named(MIDDLEWARE),
        services=named(closed(["loadBalancer"], loadBalancer=BALANCER)),
        serversTransports=named(TRANSPORT),
    ),
)
MATCHER = r"(?:Method|Path|PathRegexp|Host)\(`[^`]*`\)"


@pytest.fixture(params=SYSTEMS, ids=lambda system: system.name)
def system(request: pytest.FixtureRequest) -> System:
    found: System = request.param
    return found


@pytest.fixture
def exported(system: System) -> Traefik:
    return Traefik(traefik(system, PublicRoutes.of(policy_of(system, settings())), OPTIONS))


class TestTheFile:
    def test_has_only_documented_members(self, exported: Traefik) -> None:
        assert [str(error) for error in jsonschema_rs.iter_errors(DYNAMIC, {"http": exported.http})] == []

    def test_references_and_definitions_match(self, exported: Traefik) -> None:
        routers, http = exported.http["routers"].values(), exported.http
        transports = {each["loadBalancer"]["serversTransport"] for each in http["services"].values()}

        assert {router["service"] for router in routers} == http["services"].keys()
        assert {name for router in routers for name in router["middlewares"]} == http["middlewares"].keys()
        assert transports == http["serversTransports"].keys()

    def test_rules_use_documented_matchers_and_operators(self, exported: Traefik) -> None:
        for router in exported.http["routers"].values():
            rest = re.sub(MATCHER, "", router["rule"])
            assert re.sub(r"&&|\|\||[!() ]", "", rest) == "", router["rule"]
            assert "\n" not in router["rule"]  # Go ends a statement at the end of a line

    def test_explains_trusted_proxies(self, exported: Traefik) -> None:
        assert "TRUSTED_PROXIES" in exported.text.partition("\nhttp:")[0]


class TestRouters:
    def test_retry_safe_methods_only(self, system: System, exported: Traefik) -> None:
        path = usual_path(system)
        repeated = {
            method: any("retry" in name for name in (exported.router(method, path) or {})["middlewares"])
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        }

        assert [method for method, again in repeated.items() if again] == ["GET", "HEAD"]

    def test_match_the_configured_hosts_only(self, system: System) -> None:
        options = ExportOptions(OPTIONS.gateways, hosts=("shop.example", "www.shop.example"))
        exported = Traefik(traefik(system, PublicRoutes.of(policy_of(system, settings())), options))

        hosts = ("shop.example", "www.shop.example", "evil.example")
        taken = [host for host in hosts if exported.router("GET", usual_path(system), host)]
        assert taken == list(options.hosts)

    def test_use_each_instance(self, exported: Traefik) -> None:
        for service in exported.http["services"].values():
            urls = [server["url"] for server in service["loadBalancer"]["servers"]]
            assert urls == [f"http://{gateway}" for gateway in OPTIONS.gateways]

    def test_do_not_buffer_streams(self) -> None:
        commerce = next(system for system in SYSTEMS if system.name == "commerce")
        exported = Traefik(traefik(commerce, PublicRoutes.of(policy_of(commerce, settings())), OPTIONS))

        reached = exported.reached("GET", "/orders/ord_1/live")
        assert (reached.flushes, reached.body_limit) == (
            True,
            None,
        )  # the body limit middleware would buffer the stream
