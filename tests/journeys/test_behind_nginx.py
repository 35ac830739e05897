"""The commerce system in one process, and a real NGINX in front of it with what `portico export nginx` prints."""

import sys
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from tests.journeys.shop import Shop, in_this_process

from portico.servers import NginxServer
from portico.testing.commands import run_portico

HOST = "127.0.0.1"
KEPT_BACK = (
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
    """A shop whose people come through NGINX, which the gateway trusts."""

    def through(gateway: str) -> str:
        at = f"{HOST}:{nginx_server.port}"
        exported = run_portico(tmp_path, "export", "nginx", "commerce", "--gateway", gateway, "--listen", at)
        assert exported.returncode == 0, exported.stderr
        nginx_server.serve(exported.stdout)
        return at

    told = {"DATA_DIR": str(tmp_path), "TRUSTED_PROXIES": HOST, "RATE_LIMIT_SIGN_IN": "6/minute"}
    async with in_this_process(told, through) as shop:
        yield shop


class TestBehindNginx:
    async def test_somebody_looks_around_buys_and_follows_the_order(self, shop: Shop) -> None:
        assert (await shop.jane.gets(f"/products/{shop.lamp}"))["name"] == "A lamp"

        order_id = await shop.jane.orders(shop.lamp, 2)
        told = await shop.jane.follows(order_id, ["confirmed", "failed"])

        assert told["status"] == "confirmed"
        await shop.jane.until_stock_is(shop.lamp, on_hand=5, reserved=2)

    async def test_what_the_gateway_serves_to_everybody_is_reachable(self, shop: Shop) -> None:
        assert (await shop.jane.gets("/health"))["status"] == "healthy"
        assert "/orders" in (await shop.jane.gets("/openapi.json"))["paths"]
        for page in ("/docs", "/redoc", "/redoc/redoc.js"):
            async with shop.jane.client.get(page) as answer:
                assert answer.status == 200

    async def test_what_is_not_for_outside_ends_at_nginx(self, shop: Shop) -> None:
        for method, path in KEPT_BACK:
            status, refused = await shop.admin.asks(method, path)

            assert (status, refused["code"]) == (404, "not_found"), path
            assert refused["instance"] == "", path  # the gateway would name the path

    async def test_a_problem_of_the_gateways_comes_through_as_it_is(self, shop: Shop) -> None:
        status, refused = await shop.jane.asks("DELETE", f"/products/{shop.lamp}")
        assert (status, refused["code"], refused["instance"]) == (403, "permission_missing", f"/products/{shop.lamp}")

        status, refused = await shop.jane.asks("POST", f"/products/{shop.lamp}")
        assert (status, refused["code"]) == (405, "method_not_allowed")

    async def test_a_body_has_the_limit_of_its_route(self, shop: Shop) -> None:
        async def sent(path: str) -> tuple[int, str]:
            body = BytesIO(b'{"padding": "%b"}' % (b"x" * (2 << 20)))
            headers = {"Authorization": f"Bearer {shop.admin.token}", "Content-Type": "application/json"}
            async with shop.admin.client.post(path, data=body, headers=headers) as answer:
                return answer.status, (await answer.json(content_type=None))["code"]

        assert await sent("/products") == (413, "content_too_large")
        assert await sent("/products/batch") == (422, "invalid_request")  # a service has read it

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the loopback interface has one address")
    async def test_the_gateway_sees_each_client_whatever_it_says(self, shop: Shop) -> None:
        assert [await _guesses(shop, "127.0.0.2", number) for number in range(7)] == [401] * 6 + [429]
        assert await _guesses(shop, "127.0.0.3") == 401


async def _guesses(shop: Shop, address: str, number: int = 0) -> int:
    """Try a password from `address`, and claim to speak for another each time."""
    account = {"email": "jane@example.com", "password": "not her password"}
    claimed = {"X-Forwarded-For": f"10.1.1.{number}", "Forwarded": f"for=10.1.1.{number}"}
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(shop.jane.client._base_url, connector=connector) as client,
        client.post("/login", json=account, headers=claimed) as answer,
    ):
        return answer.status
