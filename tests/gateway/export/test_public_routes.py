import re
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from tests.gateway.export.proxies import (
    OPTIONS,
    SYSTEMS,
    Nginx,
    Traefik,
    every_route,
    example,
    sent,
    settings,
    usual_path,
)

from portico.gateway import policy_of
from portico.gateway.export import PublicRoutes, nginx, traefik
from portico.gateway.policy import Policy
from portico.gateway.routes import WEBSOCKET, Route, RouteTable
from portico.kit.auth.access import Access
from portico.kit.runtime.system import System

SERVICES_ONLY, PUBLIC = Access("service"), Access("public")
METHODS = ("GET", "HEAD", "POST", "PUT", WEBSOCKET)
PAGE, INTERNAL = "/a", "/b"
HEALTH = {"/health": "/health"}

slow_examples = example_settings(deadline=None, max_examples=60)
segments = st.lists(st.sampled_from(("a", "b", "a.csv", "{x}", "{x}.csv")), min_size=1, max_size=3)
templates = st.builds(lambda names, rest: "/" + "/".join(names) + rest, segments, st.sampled_from(("", "/{rest:path}")))
routes = st.builds(
    Route,
    service=st.just("s"),
    method=st.sampled_from(METHODS),
    path=templates,
    access=st.sampled_from((PUBLIC, PUBLIC, SERVICES_ONLY)),
    timeout=st.sampled_from((None, None, 0.5, 600.0)),
    body_limit=st.sampled_from((None, None, 10, 1 << 30)),
    streams=st.booleans(),
)
tables = st.lists(routes, max_size=8, unique_by=lambda route: (route.method, route.path)).map(RouteTable)
paths = st.lists(st.sampled_from(("a", "b", "a.csv", "c")), min_size=1, max_size=4).map(
    lambda all_: "/" + "/".join(all_)
)


class Proxies(NamedTuple):
    """Both proxies with their exported files."""

    nginx: Nginx
    traefik: Traefik

    def forward(self, method: str, path: str) -> bool:
        """Return whether both proxies forward the request; they must agree."""
        by_nginx = self.nginx.passes(sent(method), path)
        assert (self.traefik.router(sent(method), path) is not None) == by_nginx
        return by_nginx


def proxies_of(policy: Policy, internal: tuple[str, ...] = (INTERNAL,)) -> Proxies:
    public_routes = PublicRoutes.of(policy, internal)
    system = System("shop", summary="A shop", gateway=8080, services={})
    return Proxies(Nginx(nginx(system, public_routes, OPTIONS)), Traefik(traefik(system, public_routes, OPTIONS)))


def proxies_over(*lines: str, services: tuple[str, ...] = ()) -> Proxies:
    """Return proxies in front of public routes such as "GET /a" and routes for services only."""
    ones = [Route("s", *line.split(" ", 1)) for line in lines]
    ones += [Route("s", *line.split(" ", 1), access=SERVICES_ONLY) for line in services]
    return proxies_of(Policy(RouteTable(ones), own=HEALTH))


class TestPublicRoutes:
    @slow_examples
    @given(tables, st.sampled_from(METHODS), paths)
    def test_public_routes_are_forwarded_and_routes_for_services_are_not(
        self, table: RouteTable, method: str, path: str
    ) -> None:
        proxies = proxies_of(Policy(table, own=HEALTH))
        route = table._best_match(method, path)

        if route is not None and route.is_routed:
            assert proxies.forward(method, path)
        elif _service_only(table, route, method) or not list(table._candidates(path, table._literal.get(path))):
            assert not proxies.forward(method, path)

    @slow_examples
    @given(tables, st.sampled_from(METHODS), paths)
    def test_proxies_allow_at_least_the_limits_of_a_route(self, table: RouteTable, method: str, path: str) -> None:
        policy = Policy(table, own=HEALTH)
        proxies = proxies_of(policy)
        route = table._best_match(method, path)
        if route is None or not route.is_routed:
            return

        body_limit, timeout = route.body_limit or policy.defaults.body_limit, route.timeout or policy.defaults.timeout
        location, router = proxies.nginx.settings_of(path), proxies.traefik.reached(sent(method), path)
        assert int(location["client_max_body_size"]) >= body_limit
        assert float(location["proxy_read_timeout"].rstrip("s")) > timeout
        assert location["proxy_buffering"] == "off" or not route.streams
        assert router.body_limit is None or router.body_limit >= body_limit
        assert router.timeout > timeout
        assert router.flushes or not route.streams

    @slow_examples
    @given(tables, st.sampled_from(METHODS))
    def test_the_gateways_pages_take_precedence_over_routes(self, table: RouteTable, method: str) -> None:
        proxies = proxies_of(Policy(table, own={PAGE: PAGE, INTERNAL: INTERNAL}))

        assert proxies.forward(method, PAGE)
        assert not proxies.forward(method, INTERNAL)

    def test_a_literal_for_services_does_not_match_a_public_parameter(self) -> None:
        proxies = proxies_over("GET /orders/{order_id}", services=("GET /orders/totals",))

        assert proxies.forward("GET", "/orders/7")
        assert not proxies.forward("GET", "/orders/totals")
        assert not proxies.forward("HEAD", "/orders/totals")

    def test_a_public_literal_does_not_match_a_parameter_for_services(self) -> None:
        proxies = proxies_over("POST /orders/quote", services=("POST /orders/{order_id}",))

        assert proxies.forward("POST", "/orders/quote")
        assert not proxies.forward("POST", "/orders/7")

    def test_a_get_that_may_be_a_handshake_is_left_to_the_gateway(self) -> None:
        proxies = proxies_over(f"{WEBSOCKET} /rooms/{{room_id}}", services=("GET /{kind}/{thing_id}",))

        assert proxies.forward(WEBSOCKET, "/rooms/7")
        assert not proxies.forward("GET", "/halls/7")
        assert not proxies.forward("HEAD", "/rooms/7")

    def test_unsupported_methods_are_left_to_the_gateway(self) -> None:
        assert proxies_over("GET /products").forward(
            "DELETE", "/products"
        )  # which responds with 405 and the allowed methods

    def test_paths_are_matched_completely_and_case_sensitively(self) -> None:
        proxies = proxies_over("GET /products/{product_id}")

        refused = ("/products", "/products/", "/products/1/x", "/Products/1", "/x/products/1", "/productsX1")
        assert [path for path in refused if proxies.forward("GET", path)] == []


def _service_only(table: RouteTable, route: Route | None, method: str) -> bool:
    """Return whether proxies block the route. They cannot distinguish a handshake from another GET."""
    sockets = any(route.method == WEBSOCKET for route in table.routes)
    return route is not None and method != WEBSOCKET and not (method == "GET" and sockets)


@pytest.fixture(params=SYSTEMS, ids=lambda system: system.name)
def system(request: pytest.FixtureRequest) -> System:
    found: System = request.param
    return found


class TestAShippedSystem:
    @pytest.fixture
    def proxies(self, system: System) -> Proxies:
        public_routes = PublicRoutes.of(policy_of(system, settings()))
        return Proxies(Nginx(nginx(system, public_routes, OPTIONS)), Traefik(traefik(system, public_routes, OPTIONS)))

    def test_each_public_route_is_forwarded_and_no_route_for_services(self, system: System, proxies: Proxies) -> None:
        known = [(route.method, example(route.path), route.is_routed) for route in every_route(system)]

        assert known == [(method, path, proxies.forward(method, path)) for method, path, _ in known]
        assert {routed for _, _, routed in known} == {True, False}

    def test_public_pages_are_reachable_and_internal_ones_are_not(self, proxies: Proxies) -> None:
        open_ = ("/", "/health", "/openapi.json", "/docs", "/redoc", "/docs/start.js", "/redoc/redoc.js")
        closed = ("/metrics", "/health/detailed", "/health/ready", "/admin", "/docs/x")

        assert [path for path in (*open_, *closed) if proxies.forward("GET", path)] == list(open_)

    def test_the_export_is_deterministic(self, system: System) -> None:
        exported = [
            write(system, PublicRoutes.of(policy_of(system, settings())), OPTIONS)
            for write in (nginx, traefik)
            for _ in "12"
        ]

        assert exported[0] == exported[1]
        assert exported[2] == exported[3]

    def test_limits_come_from_the_settings(self, system: System) -> None:
        public_routes = PublicRoutes.of(policy_of(system, settings(BODY_LIMIT="3MiB", REQUEST_TIMEOUT="7")))
        location = Nginx(nginx(system, public_routes, OPTIONS)).settings_of(usual_path(system))
        router = Traefik(traefik(system, public_routes, OPTIONS)).reached("POST", usual_path(system))

        assert (location["client_max_body_size"], location["proxy_read_timeout"]) == (str(3 << 20), "12s")
        assert (router.body_limit, router.timeout) == (3 << 20, 12)


class TestPatterns:
    def test_use_the_syntax_that_all_proxies_share(self) -> None:
        public_routes = PublicRoutes.of(
            Policy(RouteTable([Route("s", "GET", "/.well-known/a+b(c)/{x}.csv/{rest:path}")]))
        )

        (route_class,) = public_routes.classes
        assert route_class.pattern == r"^/\.well-known/a\+b\(c\)/[^/]+\.csv/(?s:.*)$"
        assert re.search(route_class.pattern, "/.well-known/a+b(c)/all.csv/")
