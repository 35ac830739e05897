"""NGINX in front of the services themselves, with the configuration that `portico export nginx --direct` prints."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, ClassVar

import aiohttp
import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from tests.gateway.export.proxies import SYSTEMS, every_route, example, sent, settings
from tests.gateway.proxy.scripted_service import Service, ServiceRequest
from tests.gateway.proxy.servers import served

from portico.cli.export import direct_configuration
from portico.gateway import policy_of
from portico.gateway.cors import Cors
from portico.gateway.export import ExportOptions, nginx_direct
from portico.gateway.export.direct_routes import SERVICES_ONLY_TARGET
from portico.gateway.limits import Rate
from portico.gateway.policy import Policy, RouteDefaults
from portico.gateway.request_head import GUARDED
from portico.gateway.routes import WEBSOCKET, Route, RouteTable
from portico.kit.auth.access import Access
from portico.kit.runtime.system import System
from portico.servers import NginxServer
from portico.testing.commands import free_ports

HOST = "127.0.0.1"
SERVICES_ONLY = Access("service")
SHOP = System("shop", summary="A shop", gateway=8080, services={}, case="camel")
ORIGIN = "https://shop.example"
ROUTES = (
    Route("first", "GET", "/echo"),
    Route("first", "POST", "/echo"),
    Route("first", "POST", "/uploads", body_limit=4096),
    Route("second", "GET", "/uploads/{upload_id}", timeout=3.5),
    Route("first", "DELETE", "/uploads/{upload_id}", SERVICES_ONLY),
    Route("first", "POST", "/uploads/batch", SERVICES_ONLY),
    Route("first", "GET", "/internal", SERVICES_ONLY),
    Route("first", "GET", "/events", streams=True),
    Route("second", WEBSOCKET, "/rooms/{room_id}/live", streams=True),
    Route("second", "POST", "/login", rate="sign_in"),
    Route("second", "GET", "/keys", any_origin=True),
)
RATES = {"default": Rate("default", 1000, 60), "sign_in": Rate("sign_in", 3, 60, "address")}
TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJqYW5lIn0."
CLAIMS = {
    "Forwarded": "for=6.6.6.6",
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "X-Forwarded-User": "admin",
    "X-Envoy-Original-Path": "/internal",
    "X-Request-Deadline-Ms": "1",
    "X-Request-ID": "not an id",
    "X_Forwarded_For": "6.6.6.6",
    "traceparent": "nonsense",
    "Sec-WebSocket-Protocol": "admin",
}


def policy(rates: dict[str, Rate] | None = None, routes: tuple[Route, ...] = ROUTES) -> Policy:
    defaults = RouteDefaults(rates=rates or RATES, body_limit=1024, timeout=30.0)
    return Policy(RouteTable(routes), defaults=defaults, cors=Cors([ORIGIN]), own={"/health": "/health"})


@cache
def exported(system: System) -> str:
    """Return the file of a shipped system with default settings."""
    return direct_configuration(system, settings(), ExportOptions(()))


def target_of(text: str, method: str, path: str) -> str:
    """Return what the map of routes finds, read as NGINX reads it: literals first, then patterns in order."""
    found = re.search(r"^map .* \$portico_\w+_route \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert found
    lines = re.findall(r'^    "(.*)" ([^" ]+);$', found[1], re.MULTILINE)
    key = f"{method} {path}"
    literal = {name: target for name, target in lines if not name.startswith("~")}
    if key in literal:
        return literal[key]
    patterns = ((name[1:], target) for name, target in lines if name.startswith("~"))
    return next((target for pattern, target in patterns if re.search(pattern, key)), "")


class Services:
    """Two services, and a client that reaches them through NGINX."""

    def __init__(self) -> None:
        self.first, self.second = Service("first"), Service("second")
        self.client: aiohttp.ClientSession
        self.port = 0

    @property
    def requests(self) -> list[ServiceRequest]:
        return self.first.requests + self.second.requests

    async def problem(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        async with self.client.request(method, path, **options) as answer:
            assert answer.content_type == "application/problem+json", await answer.text()
            found = await answer.json()
            assert (found["status"], found["requestId"]) == (answer.status, answer.headers["X-Request-ID"])
            assert answer.headers["X-Frame-Options"] == "DENY"
            return answer.status, found["code"]


@asynccontextmanager
async def in_front_of(
    server: NginxServer, services: Services, *first: str, rates: dict[str, Rate] | None = None
) -> AsyncIterator[None]:
    """Run NGINX in front of both services; `first` are further instances of the first one."""
    options = ExportOptions((), listen=f"{HOST}:{server.port}")
    async with served(services.first) as one, served(services.second) as two:
        addresses = {"first": [*first, one], "second": [two]}
        server.serve(nginx_direct(SHOP, policy(rates), options, addresses))
        services.port = server.port
        async with aiohttp.ClientSession(server.url()) as services.client:
            yield


@pytest.fixture
async def services(nginx_server: NginxServer) -> AsyncIterator[Services]:
    services = Services()
    async with in_front_of(nginx_server, services):
        yield services


class TestTheFile:
    def test_two_systems_fit_in_one_configuration(self, nginx_server: NginxServer) -> None:
        ports = iter(free_ports(len(SYSTEMS)))
        texts = [exported(system) for system in SYSTEMS]

        nginx_server.check("".join(text.replace("listen 80;", f"listen {HOST}:{next(ports)};") for text in texts))

    @pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: str(system.name))
    def test_finds_each_route_of_a_system(self, system: System) -> None:
        text = exported(system)
        for route in every_route(system):
            target = target_of(text, sent(route.method), example(route.path))
            assert target.partition(":")[0] == (route.service if route.is_routed else SERVICES_ONLY_TARGET), route

    @pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: str(system.name))
    def test_names_what_it_cannot_do(self, system: System) -> None:
        heading = exported(system).partition("\nupstream")[0]

        for words in ("RateLimit", "sliding windows", "circuit breakers", "/health", "/openapi.json", "not verified"):
            assert words in heading

    def test_has_the_deadline_and_rate_of_each_route(self) -> None:
        text = nginx_direct(SHOP, policy(), ExportOptions(()), {"first": ["a:1"], "second": ["b:2"]})

        assert target_of(text, "GET", "/uploads/7") == "second:default:3500:"
        assert target_of(text, "GET", "/events") == "first:default::"
        assert target_of(text, "POST", "/login") == "second:sign_in:30000:"
        assert target_of(text, "GET", "/keys") == "second:default:30000:any"


segments = st.lists(st.sampled_from(("a", "b", "a.csv", "{x}", "{x}.csv")), min_size=1, max_size=3)
templates = st.builds(lambda names, rest: "/" + "/".join(names) + rest, segments, st.sampled_from(("", "/{rest:path}")))
METHODS = ("GET", "HEAD", "POST", "PUT")


@example_settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(METHODS), templates, st.booleans()), max_size=8, unique_by=lambda one: one[:2]),
    st.sampled_from(METHODS),
    st.lists(st.sampled_from(("a", "b", "a.csv", "c")), min_size=1, max_size=4).map(lambda all_: "/" + "/".join(all_)),
)
def test_the_map_finds_what_the_route_table_finds(
    declared: list[tuple[str, str, bool]], method: str, path: str
) -> None:
    routes = tuple(
        Route(f"s{number}", verb, template, SERVICES_ONLY if kept else Access("public"))
        for number, (verb, template, kept) in enumerate(declared)
    )
    table = RouteTable(routes)
    text = nginx_direct(SHOP, policy(routes=routes), ExportOptions(()), {route.service: ["a:1"] for route in routes})

    best = table._best_match(method, path)

    wanted = "" if best is None else best.service if best.is_routed else SERVICES_ONLY_TARGET
    assert target_of(text, method, path).partition(":")[0] == wanted


class TestForwardedRequests:
    async def test_reach_the_service_of_their_route(self, services: Services) -> None:
        for method, path in (("GET", "/echo"), ("HEAD", "/echo"), ("GET", "/uploads/a%20b")):
            async with services.client.request(method, path) as answer:
                assert answer.status == 200

        assert [request.scope["method"] for request in services.first.requests] == ["GET", "HEAD"]
        assert services.second.requests[0].scope["raw_path"] == b"/uploads/a%20b"

    async def test_have_no_guarded_field_of_the_client(self, services: Services) -> None:
        passed_on = {b"connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade", b"host", b"expect"}
        claimed = {name.decode(): "claimed" for name in GUARDED - passed_on} | CLAIMS

        async with services.client.get("/echo", headers=claimed | {"X-Note": "kept"}) as answer:
            assert answer.status == 200

        seen = services.first.requests[0].headers
        assert seen[b"x-note"] == b"kept"
        assert seen[b"x-forwarded-for"] == HOST.encode()
        assert seen[b"x-forwarded-proto"] == b"http"
        assert seen[b"x-forwarded-host"] == seen[b"host"]
        assert seen[b"x-request-deadline-ms"] == b"30000"
        assert re.fullmatch(rb"[0-9a-f]{32}", seen[b"x-request-id"])
        own = {b"host", b"x-request-id", b"x-request-deadline-ms"}
        others = {name for name in seen if name in GUARDED or name.startswith((b"x-forwarded-", b"x-envoy-", b"sec-"))}
        assert others - own == {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
        assert not {name for name in seen if b"_" in name}

    async def test_keep_well_formed_ids(self, services: Services) -> None:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        async with services.client.get("/echo", headers={"X-Request-ID": "mine-1", "traceparent": trace}) as answer:
            assert answer.headers.getall("X-Request-ID") == ["mine-1"]

        seen = services.first.requests[0].headers
        assert (seen[b"x-request-id"], seen[b"traceparent"]) == (b"mine-1", trace.encode())

    async def test_use_keepalive_connections(self, services: Services) -> None:
        for _ in range(3):
            async with services.client.get("/echo") as answer:
                assert answer.status == 200

        assert len({request.scope["client"] for request in services.requests}) == 1


class TestRefusals:
    async def test_routes_for_services_and_unknown_paths_are_not_found(self, services: Services) -> None:
        for method, path in (
            ("GET", "/internal"),
            ("HEAD", "/internal"),
            ("POST", "/uploads/batch"),
            ("DELETE", "/uploads/1"),
            ("GET", "/health"),
            ("GET", "/metrics"),
            ("GET", "/nothing"),
            ("GET", "/Nothing"),
        ):
            if method == "HEAD":
                async with services.client.head(path) as answer:
                    assert answer.status == 404
            else:
                assert await services.problem(method, path) == (404, "not_found")
        assert services.requests == []

    async def test_unsupported_methods_are_refused_with_the_others(self, services: Services) -> None:
        assert await services.problem("PATCH", "/echo") == (405, "method_not_allowed")
        async with services.client.options("/echo") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
            assert (await answer.json())["allowed"] == "GET, HEAD, POST"

    @pytest.mark.parametrize("path", ["/uploads/%2e%2e/internal", "/uploads//1", "/uploads/a%2fb", "/a/../internal"])
    async def test_paths_that_a_service_could_read_differently_are_refused(self, services: Services, path: str) -> None:
        reader, writer = await asyncio.open_connection(HOST, services.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()

        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"code":"malformed_request"' in answer
        assert services.requests == []

    async def test_bodies_are_limited_by_path(self, services: Services) -> None:
        async with services.client.post("/echo", data=b"x" * 1024) as answer:
            assert answer.status == 200
        async with services.client.post("/uploads", data=b"x" * 4096) as answer:
            assert answer.status == 200

        assert await services.problem("POST", "/echo", data=b"x" * 1025) == (413, "content_too_large")
        assert await services.problem("POST", "/uploads", data=b"x" * 4097) == (413, "content_too_large")

    async def test_an_unreachable_service_is_a_bad_gateway(self, nginx_server: NginxServer) -> None:
        (unused,) = free_ports(1)
        options = ExportOptions((), listen=f"{HOST}:{nginx_server.port}")
        addresses = {name: [f"{HOST}:{unused}"] for name in ("first", "second")}
        nginx_server.serve(nginx_direct(SHOP, policy(), options, addresses))
        services = Services()
        async with aiohttp.ClientSession(nginx_server.url()) as services.client:
            assert await services.problem("POST", "/echo", data=b"x") == (502, "bad_gateway")


class TestRates:
    RATES: ClassVar = {"default": Rate("default", 4, 3600), "sign_in": Rate("sign_in", 2, 3600, "address")}

    @pytest.fixture
    async def limited(self, nginx_server: NginxServer) -> AsyncIterator[Services]:
        services = Services()
        async with in_front_of(nginx_server, services, rates=self.RATES):
            yield services

    async def statuses(self, services: Services, count: int, method: str, path: str, *tokens: str) -> list[int]:
        found = []
        for number in range(count):
            token = tokens[number % len(tokens)] if tokens else None
            headers = {"Authorization": f"Bearer {TOKEN}{token * 40}"} if token else {}
            async with services.client.request(method, path, headers=headers) as answer:
                found.append(answer.status)
        return found

    async def test_callers_are_counted_by_their_token(self, limited: Services) -> None:
        assert await self.statuses(limited, 5, "GET", "/echo", "a") == [200] * 4 + [429]
        assert await self.statuses(limited, 5, "GET", "/echo", "b") == [200] * 4 + [429]
        assert await self.statuses(limited, 5, "GET", "/echo") == [200] * 4 + [429]

    async def test_another_end_of_a_token_is_the_same_caller(self, limited: Services) -> None:
        found = []
        for end in "abcde":
            headers = {"Authorization": f"Bearer {TOKEN}{'s' * 40}{end}"}
            async with limited.client.get("/echo", headers=headers) as answer:
                found.append(answer.status)

        assert found == [200] * 4 + [429]

    async def test_invented_tokens_are_limited_by_address(self, limited: Services) -> None:
        invented = [f"{number:02}" for number in range(50)]

        assert await self.statuses(limited, 41, "GET", "/echo", *invented) == [200] * 40 + [429]

    async def test_sign_ins_are_counted_by_address(self, limited: Services) -> None:
        assert await self.statuses(limited, 3, "POST", "/login", "a", "b", "c") == [200] * 2 + [429]
        assert await limited.problem("POST", "/login") == (429, "too_many_requests")
        async with limited.client.post("/login") as answer:
            assert answer.headers["Retry-After"] == "60"
            assert (await answer.json())["retryAfter"] == 60


class TestOrigins:
    async def test_allowed_ones_may_read_responses(self, services: Services) -> None:
        for path, origin, allowed in (
            ("/echo", ORIGIN, ORIGIN),
            ("/echo", "https://evil.example", None),
            ("/keys", "https://evil.example", "*"),
            ("/keys", ORIGIN, ORIGIN),
            ("/nothing", ORIGIN, ORIGIN),
        ):
            async with services.client.get(path, headers={"Origin": origin}) as answer:
                headers = answer.headers
            assert headers.get("Access-Control-Allow-Origin") == allowed
            assert headers.get("Access-Control-Allow-Credentials") == ("true" if allowed == ORIGIN else None)
            assert ("Access-Control-Expose-Headers" in headers) is (allowed is not None)

    async def test_preflight_requests_are_answered_by_nginx(self, services: Services) -> None:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        async with services.client.options("/echo", headers={**asked, "Origin": ORIGIN}) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
            assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST"
            assert answer.headers["Access-Control-Allow-Headers"] == "content-type"
        async with services.client.options("/echo", headers={**asked, "Origin": "https://evil.example"}) as answer:
            assert answer.status == 204
            assert "Access-Control-Allow-Methods" not in answer.headers
        assert await services.problem("OPTIONS", "/internal", headers={**asked, "Origin": ORIGIN}) == (404, "not_found")
        assert services.requests == []

    async def test_fields_of_the_service_are_kept_or_replaced(self, services: Services) -> None:
        async def tell(request: ServiceRequest) -> None:
            fields = ((b"x-frame-options", b"SAMEORIGIN"), (b"x-request-id", b"other"), (b"x-powered-by", b"x"))
            await request.answer(200, b"{}", *fields, (b"access-control-allow-origin", b"*"))

        services.first.on("/echo", tell)
        async with services.client.get("/echo") as answer:
            headers = answer.headers

        assert headers.getall("X-Frame-Options") == ["SAMEORIGIN"]
        assert headers.getall("X-Content-Type-Options") == ["nosniff"]
        assert headers["X-Request-ID"] != "other"
        assert "X-Powered-By" not in headers
        assert "Access-Control-Allow-Origin" not in headers


class TestStreams:
    async def test_are_not_buffered_and_have_no_deadline(self, services: Services) -> None:
        read = asyncio.Event()

        async def tell(request: ServiceRequest) -> None:
            await request.begin(200, (b"content-type", b"text/event-stream"))
            await request.write(b"data: hello\n\n")
            await read.wait()
            await request.write(b"data: again\n\n")
            await request.disconnected()

        services.first.on("/events", tell)
        async with asyncio.timeout(10), services.client.get("/events") as answer:
            assert await answer.content.readuntil(b"\n\n") == b"data: hello\n\n"
            read.set()
            assert await answer.content.readuntil(b"\n\n") == b"data: again\n\n"
        assert b"x-request-deadline-ms" not in services.first.requests[0].headers

    async def test_a_websocket_is_forwarded_on_websocket_routes_only(self, services: Services) -> None:
        async def talk(request: ServiceRequest) -> None:
            await request.receive()
            await request.send({"type": "websocket.accept"})
            said = await request.receive()
            await request.send({"type": "websocket.send", "text": said["text"].upper()})
            await request.disconnected()

        services.second.on("/rooms/7/live", talk)
        async with asyncio.timeout(10), services.client.ws_connect("/rooms/7/live") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "HELLO"

        with pytest.raises(aiohttp.WSServerHandshakeError):
            await services.client.ws_connect("/echo")
        assert services.first.requests[-1].scope["type"] == "http"  # NGINX dropped the Upgrade header


async def test_an_unreachable_instance_causes_no_errors(nginx_server: NginxServer) -> None:
    services = Services()
    (unused,) = free_ports(1)
    async with in_front_of(nginx_server, services, f"{HOST}:{unused}"):
        for method in ("GET", "POST") * 3:
            async with services.client.request(method, "/echo") as answer:
                assert answer.status == 200


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: str(system.name))
def test_every_public_path_has_its_methods(system: System) -> None:
    table = policy_of(system, settings()).table
    text = exported(system)
    found = re.search(r"^map \$uri \$portico_\w+_allow \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert found
    lines = re.findall(r'^    "(~?)(.*)" "(.*)";$', found[1], re.MULTILINE)
    for route in table.routes:
        path = example(route.path)
        allowed = next((s for kind, name, s in lines if name == path or (kind and re.search(name, path))), "")
        assert set(table.methods(path)) <= set(allowed.split(", ")), path  # more where two templates overlap
