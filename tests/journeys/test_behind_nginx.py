"""Commerce behind a real NGINX with the configurations that `portico export nginx` prints: in front of the gateway, and,
with `--direct`, in front of the services themselves.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from tests.gateway.proxy.servers import served
from tests.journeys.shop import SETTINGS, TIMEOUT, Shop, run_shop, served_gateway

from portico.servers import NginxServer
from portico.shop_client import ShopClient
from portico.systems.commerce import commerce
from portico.systems.composition import Composition
from portico.testing.commands import run_portico

HOST = "127.0.0.1"
PRIVATE = (
    ("GET", "/nothing/here"),
    ("GET", "/orders/totals"),
    ("POST", "/payments"),
    ("PUT", "/inventory/reservations/res_1"),
    ("GET", "/auth/revocations"),
    ("GET", "/metrics"),
)
"""What no configuration forwards."""


@pytest.fixture(scope="class")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


async def serve_export(server: NginxServer, folder: Path, *options: str, **limits: str) -> str:
    """Let NGINX serve what `portico export` prints; return its address."""
    at = f"{HOST}:{server.port}"
    command = ("export", "nginx", "commerce", "--listen", at, *options)
    exported = await asyncio.to_thread(run_portico, folder, *command, variables=limits)
    assert exported.returncode == 0, exported.stderr
    server.serve(exported.stdout)
    return at


@pytest.fixture(scope="class")
async def behind_gateway(nginx_server: NginxServer, folder: Path) -> AsyncIterator[Shop]:
    """A shop whose clients connect through NGINX, which the gateway trusts."""

    @asynccontextmanager
    async def front(whole: Composition) -> AsyncIterator[str]:
        async with served_gateway(whole) as gateway:
            yield await serve_export(nginx_server, folder, "--gateway", gateway)

    variables = {"DATA_DIR": str(folder), "TRUSTED_PROXIES": HOST, "RATE_LIMIT_SIGN_IN": "6/minute"}
    async with run_shop(variables, front) as shop:
        yield shop


@pytest.fixture(scope="class")
async def direct(nginx_server: NginxServer, folder: Path) -> AsyncIterator[Shop]:
    """A shop without a gateway: each service has a port, and NGINX is in front of all."""
    limits = {"RATE_LIMIT": "2000/minute", "RATE_LIMIT_SIGN_IN": SETTINGS["RATE_LIMIT_SIGN_IN"]}

    @asynccontextmanager
    async def front(whole: Composition) -> AsyncIterator[str]:
        async with AsyncExitStack() as stack:
            targets: list[str] = []
            for name in (each.name for each in commerce.placements):
                targets += ["--target", f"{name}={await stack.enter_async_context(served(whole.apps[name]))}"]
            yield await serve_export(nginx_server, folder, "--direct", *targets, **limits)

    async with run_shop({"DATA_DIR": str(folder), **limits}, front) as shop:
        yield shop


class Behaviour:
    """What holds for both configurations. A subclass provides `shop`."""

    async def test_a_customer_reads_orders_and_follows_the_order(self, shop: Shop) -> None:
        assert (await shop.jane.get(f"/products/{shop.lamp}"))["name"] == "A lamp"

        order_id = await shop.order(2)
        last = await shop.jane.follow_order(order_id, ["confirmed", "failed"])

        assert last["status"] == "confirmed"
        await shop.wait_for_stock(on_hand=5, reserved=2)

    async def test_private_paths_are_rejected_by_nginx(self, shop: Shop) -> None:
        for method, path in PRIVATE:
            rejected = await shop.admin.request(method, path)

            rejected.expect(404, code="not_found", instance="")  # the gateway would name the path

    async def test_problems_are_passed_through(self, shop: Shop) -> None:
        path = f"/products/{shop.lamp}"

        (await shop.jane.request("DELETE", path)).expect(403, code="permission_missing", instance=path)
        (await ShopClient(shop.jane.transport).request("GET", "/orders")).expect(401)

    async def test_bodies_have_the_limit_of_their_route(self, shop: Shop) -> None:
        async def sent(path: str) -> tuple[int, str]:
            response = await shop.admin.request("POST", path, {"padding": "x" * (2 << 20)})
            return response.status, response.json()["code"]

        assert await sent("/products") == (413, "content_too_large")
        assert await sent("/products/batch") == (422, "invalid_request")  # a service has read it


class TestBehindNginx(Behaviour):
    @pytest.fixture
    def shop(self, behind_gateway: Shop) -> Shop:
        return behind_gateway

    async def test_public_paths_of_the_gateway_are_reachable(self, shop: Shop) -> None:
        assert (await shop.jane.get("/health"))["status"] == "healthy"
        async with asyncio.timeout(TIMEOUT):
            while "/orders" not in (await shop.jane.get("/openapi.json"))["paths"]:
                pass  # a service was too slow to describe itself
        for page in ("/docs", "/redoc", "/redoc/redoc.js"):
            (await shop.jane.request("GET", page)).expect(200)
        (await shop.admin.request("GET", "/health/detailed")).expect(404, code="not_found", instance="")

    async def test_a_wrong_method_is_refused_by_the_gateway(self, shop: Shop) -> None:
        (await shop.jane.request("POST", f"/products/{shop.lamp}")).expect(405, code="method_not_allowed")

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the loopback interface has one address")
    async def test_the_gateway_sees_client_addresses_and_ignores_claimed_ones(self, shop: Shop) -> None:
        assert [await _guess_password(shop, "127.0.0.2", number) for number in range(7)] == [401] * 6 + [429]
        assert await _guess_password(shop, "127.0.0.3") == 401


class TestBehindDirectNginx(Behaviour):
    @pytest.fixture
    def shop(self, direct: Shop) -> Shop:
        return direct

    async def test_paths_of_the_gateway_and_batches_of_services_are_not_found(self, shop: Shop) -> None:
        for method, path in (("POST", "/payments/batch"), ("GET", "/health")):
            (await shop.admin.request(method, path)).expect(404, code="not_found", instance="")


async def _guess_password(shop: Shop, address: str, number: int = 0) -> int:
    """Try a password from `address`, and claim another address each time; return the status."""
    account = {"email": shop.email, "password": "not her password"}
    claimed = {"X-Forwarded-For": f"10.1.1.{number}", "Forwarded": f"for=10.1.1.{number}"}
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(shop.jane.transport.base, connector=connector) as client,
        client.post("/login", json=account, headers=claimed) as answer,
    ):
        return answer.status
