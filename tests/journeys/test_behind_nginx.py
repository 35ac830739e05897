"""The commerce system behind a real NGINX with the configuration that `portico export nginx` prints."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from tests.journeys.shop import Shop, run_shop

from portico.servers import NginxServer
from portico.testing.commands import run_portico

HOST = "127.0.0.1"
INTERNAL = (
    ("GET", "/nothing/here"),
    ("GET", "/orders/totals"),
    ("POST", "/payments"),
    ("PUT", "/inventory/reservations/res_1"),
    ("GET", "/auth/revocations"),
    ("GET", "/metrics"),
    ("GET", "/health/detailed"),
)


@pytest.fixture
async def shop(nginx_server: NginxServer, tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop whose clients connect through NGINX, which the gateway trusts."""

    def through(gateway: str) -> str:
        at = f"{HOST}:{nginx_server.port}"
        exported = run_portico(tmp_path, "export", "nginx", "commerce", "--gateway", gateway, "--listen", at)
        assert exported.returncode == 0, exported.stderr
        nginx_server.serve(exported.stdout)
        return at

    variables = {"DATA_DIR": str(tmp_path), "TRUSTED_PROXIES": HOST, "RATE_LIMIT_SIGN_IN": "6/minute"}
    async with run_shop(variables, through) as shop:
        yield shop


class TestBehindNginx:
    async def test_a_customer_reads_orders_and_follows_the_order(self, shop: Shop) -> None:
        assert (await shop.jane.get(f"/products/{shop.lamp}"))["name"] == "A lamp"

        order_id = await shop.order(2)
        last = await shop.jane.follow_order(order_id, ["confirmed", "failed"])

        assert last["status"] == "confirmed"
        await shop.wait_for_stock(on_hand=5, reserved=2)

    async def test_public_paths_of_the_gateway_are_reachable(self, shop: Shop) -> None:
        assert (await shop.jane.get("/health"))["status"] == "healthy"
        assert "/orders" in (await shop.jane.get("/openapi.json"))["paths"]
        for page in ("/docs", "/redoc", "/redoc/redoc.js"):
            (await shop.jane.request("GET", page)).expect(200)

    async def test_internal_paths_are_rejected_by_nginx(self, shop: Shop) -> None:
        for method, path in INTERNAL:
            rejected = await shop.admin.request(method, path)

            rejected.expect(404, code="not_found", instance="")  # the gateway would name the path

    async def test_problems_of_the_gateway_are_passed_through(self, shop: Shop) -> None:
        path = f"/products/{shop.lamp}"

        (await shop.jane.request("DELETE", path)).expect(403, code="permission_missing", instance=path)
        (await shop.jane.request("POST", path)).expect(405, code="method_not_allowed")

    async def test_bodies_have_the_limit_of_their_route(self, shop: Shop) -> None:
        async def sent(path: str) -> tuple[int, str]:
            response = await shop.admin.request("POST", path, {"padding": "x" * (2 << 20)})
            return response.status, response.json()["code"]

        assert await sent("/products") == (413, "content_too_large")
        assert await sent("/products/batch") == (422, "invalid_request")  # a service has read it

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the loopback interface has one address")
    async def test_the_gateway_sees_client_addresses_and_ignores_claimed_ones(self, shop: Shop) -> None:
        assert [await _guess_password(shop, "127.0.0.2", number) for number in range(7)] == [401] * 6 + [429]
        assert await _guess_password(shop, "127.0.0.3") == 401


async def _guess_password(shop: Shop, address: str, number: int = 0) -> int:
    """Try a password from `address`, and claim another address each time; return the status."""
    account = {"email": "jane@example.com", "password": "not her password"}
    claimed = {"X-Forwarded-For": f"10.1.1.{number}", "Forwarded": f"for=10.1.1.{number}"}
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(shop.jane.transport.base, connector=connector) as client,
        client.post("/login", json=account, headers=claimed) as answer,
    ):
        return answer.status
