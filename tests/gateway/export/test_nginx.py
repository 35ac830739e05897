import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.gateway.export.proxies import OPTIONS, SYSTEMS
from tests.gateway.proxy.scripted_service import Service, ServiceRequest
from tests.gateway.proxy.servers import served

from portico.cli.deploy_files import deploy_files
from portico.gateway.export import ExportOptions, PublicRoutes, Tls, nginx
from portico.gateway.policy import Policy, RouteDefaults
from portico.gateway.routes import WEBSOCKET, Route, RouteTable
from portico.kit.auth.access import Access
from portico.kit.runtime.system import System
from portico.servers import NginxServer
from portico.testing.commands import free_ports

HOST = "127.0.0.1"
SHOP = System("shop", summary="A shop", gateway=8080, services={}, case="camel")
ROUTES = (
    Route("s", "GET", "/echo"),
    Route("s", "POST", "/echo"),
    Route("s", "POST", "/uploads", body_limit=4096),
    Route("s", "GET", "/uploads/{upload_id}"),
    Route("s", "DELETE", "/uploads/{upload_id}", Access("service")),
    Route("s", "GET", "/events", streams=True),
    Route("s", WEBSOCKET, "/rooms/{room_id}/live", streams=True),
)


def site(options: ExportOptions, routes: Sequence[Route] = ROUTES) -> str:
    policy = Policy(RouteTable(routes), defaults=RouteDefaults(body_limit=1024), own={"/health": "/health"})
    return nginx(SHOP, PublicRoutes.of(policy), options)


@pytest.fixture(scope="module")
def deployed() -> dict[str, str]:
    return deploy_files()


@pytest.fixture
def server(nginx_server: NginxServer) -> NginxServer:
    return nginx_server


@asynccontextmanager
async def in_front_of(server: NginxServer, *gateways: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Run NGINX in front of these gateways and yield a client."""
    server.serve(site(ExportOptions(gateways, listen=f"{HOST}:{server.port}")))
    async with aiohttp.ClientSession(server.url()) as client:
        yield client


@pytest.fixture
def gateway() -> Service:
    return Service()


@pytest.fixture
async def client(server: NginxServer, gateway: Service) -> AsyncIterator[aiohttp.ClientSession]:
    async with served(gateway) as at, in_front_of(server, at) as client:
        yield client


@asynccontextmanager
async def hanging_up() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Yield an instance that reads a request and closes the connection, and the request lines that it read."""
    request_lines: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request_lines.append(await reader.readuntil(b"\r\n"))
        writer.transport.abort()

    listener = await asyncio.start_server(answer, HOST, 0)
    async with listener:
        yield f"{HOST}:{listener.sockets[0].getsockname()[1]}", request_lines


async def problem(client: aiohttp.ClientSession, method: str, path: str, **options: Any) -> tuple[int, str]:
    async with client.request(method, path, **options) as answer:
        assert answer.content_type == "application/problem+json", await answer.text()
        found = await answer.json()
        assert (found["status"], found["requestId"]) == (answer.status, answer.headers["X-Request-ID"])
        return answer.status, found["code"]


class TestTheFile:
    @pytest.mark.parametrize("name", [f"nginx/{system.name}.conf" for system in SYSTEMS])
    def test_is_accepted_by_nginx(self, server: NginxServer, deployed: dict[str, str], name: str) -> None:
        # An unprivileged account cannot listen on port 80.
        server.check(deployed[name].replace("listen 80;", f"listen {HOST}:{server.port};"))

    def test_two_systems_fit_in_one_configuration(self, server: NginxServer, deployed: dict[str, str]) -> None:
        ports = iter(free_ports(len(SYSTEMS)))
        texts = [deployed[f"nginx/{system.name}.conf"] for system in SYSTEMS]

        server.check("".join(text.replace("listen 80;", f"listen {HOST}:{next(ports)};") for text in texts))

    def test_two_systems_with_long_names_fit_in_one_configuration(self, server: NginxServer) -> None:
        public_routes = PublicRoutes.of(Policy(RouteTable(ROUTES), own={"/health": "/health"}))
        names = ["the_shop_at_the_corner_of_the_street", "the_shop_at_the_corner_of_the_market"]
        all_options = [ExportOptions(OPTIONS.gateways, listen=f"{HOST}:{port}") for port in free_ports(2)]

        texts = [
            nginx(replace(SHOP, name=name), public_routes, options)
            for name, options in zip(names, all_options, strict=True)
        ]

        server.check("".join(texts))

    def test_lists_the_hosts_and_each_instance(self) -> None:
        text = site(ExportOptions(OPTIONS.gateways, hosts=("shop.example", "www.shop.example"), listen="8443"))

        assert re.findall(r"^    server (\S+) ", text, re.MULTILINE) == list(OPTIONS.gateways)
        assert "    listen 8443;\n    server_name shop.example www.shop.example;\n" in text

    def test_explains_trusted_proxies(self) -> None:
        assert "TRUSTED_PROXIES" in site(OPTIONS).partition("upstream")[0]


class TestForwardedRequests:
    async def test_have_forwarding_headers_of_nginx_only(
        self, server: NginxServer, client: aiohttp.ClientSession
    ) -> None:
        lies = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "Forwarded": "for=6.6.6.6"}

        async with client.get("/echo", headers={**lies, "X-Forwarded-Host": "evil.example"}) as answer:
            seen = await answer.json()

        headers = dict(seen["headers"])
        assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == (HOST, "http")
        assert headers["host"] == headers["x-forwarded-host"] == f"{HOST}:{server.port}"
        assert "forwarded" not in headers

    async def test_get_no_nginx_version(self, client: aiohttp.ClientSession) -> None:
        async with client.get("/echo") as answer:
            assert answer.headers["server"] == "nginx"

    async def test_keep_their_path(self, client: aiohttp.ClientSession) -> None:
        async with client.get("/uploads/a%20b") as answer:
            assert (await answer.json())["raw_path"] == "/uploads/a%20b"

    async def test_use_keepalive_connections(self, client: aiohttp.ClientSession, gateway: Service) -> None:
        for _ in range(3):
            async with client.get("/echo") as answer:
                assert answer.status == 200

        assert {request.scope["http_version"] for request in gateway.requests} == {"1.1"}
        assert len({request.scope["client"] for request in gateway.requests}) == 1

    async def test_are_only_those_to_public_routes(self, client: aiohttp.ClientSession, gateway: Service) -> None:
        for path in ("/", "/admin", "/echo/1", "/metrics", "/uploads//1", "/Echo"):
            assert await problem(client, "GET", path) == (404, "not_found")
        assert await problem(client, "DELETE", "/uploads/1") == (404, "not_found")
        assert gateway.requests == []


class TestBodies:
    async def test_are_limited_by_path(self, client: aiohttp.ClientSession) -> None:
        async with client.post("/echo", data=b"x" * 1024) as answer:
            assert answer.status == 200
        async with client.post("/uploads", data=b"x" * 4096) as answer:
            assert answer.status == 200

        assert await problem(client, "POST", "/echo", data=b"x" * 1025) == (413, "content_too_large")
        assert await problem(client, "POST", "/uploads", data=b"x" * 4097) == (413, "content_too_large")

    async def test_are_limited_without_declared_length(self, client: aiohttp.ClientSession) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"x" * 512

        assert await problem(client, "POST", "/echo", data=chunks()) == (413, "content_too_large")

    async def test_that_may_be_large_are_streamed(self, client: aiohttp.ClientSession, gateway: Service) -> None:
        begun = asyncio.Event()

        async def receive(request: ServiceRequest) -> None:
            assert await request.chunk() == b"first"
            begun.set()
            assert await request.chunk() == b"last"
            await request.answer(200, b"{}")

        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            await begun.wait()
            yield b"last"

        gateway.on("/uploads", receive)
        async with asyncio.timeout(10), client.post("/uploads", data=chunks()) as answer:
            assert answer.status == 200


class TestStreams:
    async def test_are_not_buffered(self, client: aiohttp.ClientSession, gateway: Service) -> None:
        read = asyncio.Event()

        async def tell(request: ServiceRequest) -> None:
            await request.begin(200, (b"content-type", b"text/event-stream"))
            await request.write(b"data: hello\n\n")
            await read.wait()
            await request.write(b"data: again\n\n")
            await request.disconnected()

        gateway.on("/events", tell)
        async with asyncio.timeout(10), client.get("/events") as answer:
            assert await answer.content.readuntil(b"\n\n") == b"data: hello\n\n"
            read.set()
            assert await answer.content.readuntil(b"\n\n") == b"data: again\n\n"

    async def test_a_websocket_is_forwarded_on_websocket_routes_only(
        self, client: aiohttp.ClientSession, gateway: Service
    ) -> None:
        async def talk(request: ServiceRequest) -> None:
            await request.receive()
            await request.send({"type": "websocket.accept"})
            said = await request.receive()
            await request.send({"type": "websocket.send", "text": said["text"].upper()})
            await request.disconnected()

        gateway.on("/rooms/7/live", talk)
        async with asyncio.timeout(10), client.ws_connect("/rooms/7/live") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "HELLO"

        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect("/echo")
        assert gateway.requests[-1].scope["type"] == "http"  # NGINX dropped the Upgrade header


class TestInstances:
    async def test_an_unreachable_instance_causes_no_errors(self, server: NginxServer, gateway: Service) -> None:
        (unused,) = free_ports(1)
        async with served(gateway) as at, in_front_of(server, f"{HOST}:{unused}", at) as client:
            for method in ("GET", "POST") * 3:
                async with client.request(method, "/echo") as answer:
                    assert answer.status == 200

    async def test_a_get_is_retried_on_another_instance(self, server: NginxServer, gateway: Service) -> None:
        async with (
            hanging_up() as (broken, request_lines),
            served(gateway) as at,
            in_front_of(server, broken, at) as client,
        ):
            for _ in range(2):
                async with client.get("/echo") as answer:
                    assert answer.status == 200

        assert request_lines == [b"GET /echo HTTP/1.1\r\n"]

    async def test_a_post_with_unknown_outcome_is_not_retried(self, server: NginxServer, gateway: Service) -> None:
        async with (
            hanging_up() as (broken, request_lines),
            served(gateway) as at,
            in_front_of(server, broken, at) as client,
        ):
            assert await problem(client, "POST", "/echo", data=b"x") == (502, "bad_gateway")

        assert request_lines == [b"POST /echo HTTP/1.1\r\n"]
        assert gateway.requests == []


@pytest.fixture
def certified(server: NginxServer, tmp_path: Path) -> Tls:
    """A certificate for localhost, readable by NGINX's account."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    held = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = [server.write("shop.crt", certificate.public_bytes(pem).decode()), server.write("shop.key", held.decode())]
    (port,) = free_ports(1)
    return Tls(*map(str, files), redirect_from=port)


class TestTls:
    async def test_ends_at_nginx_and_plain_http_is_redirected(
        self, server: NginxServer, gateway: Service, certified: Tls
    ) -> None:
        trusting = ssl.create_default_context(cafile=certified.certificate)
        async with served(gateway) as at, aiohttp.ClientSession() as client:
            server.serve(site(ExportOptions((at,), listen=f"{HOST}:{server.port}", tls=certified)))

            async with client.get(f"https://localhost:{server.port}/echo", ssl=trusting) as answer:
                headers = dict((await answer.json())["headers"])
            plain = f"http://localhost:{certified.redirect_from}/echo?page=2"
            async with client.get(plain, allow_redirects=False) as answer:
                redirected = answer.status, answer.headers["location"]

        assert headers["x-forwarded-proto"] == "https"
        assert redirected == (308, f"https://localhost:{server.port}/echo?page=2")
