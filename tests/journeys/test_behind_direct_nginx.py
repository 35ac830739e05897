"""Commerce behind a real NGINX that forwards to the services themselves (`portico export nginx --direct`)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.gateway.proxy.servers import served
from tests.journeys.shop import ADMIN, PASSWORD, SETTINGS, Shop, create_product

from portico.gateway_client import HttpTransport
from portico.kit.settings import Environment
from portico.servers import NginxServer
from portico.shop_client import ShopClient
from portico.systems.commerce import commerce
from portico.systems.composition import Composition
from portico.testing.commands import run_portico

HOST = "127.0.0.1"
KEPT_BACK = (
    ("GET", "/orders/totals"),
    ("POST", "/payments"),
    ("POST", "/payments/batch"),
    ("PUT", "/inventory/reservations/res_1"),
    ("GET", "/auth/revocations"),
    ("GET", "/nothing/here"),
    ("GET", "/metrics"),
    ("GET", "/health"),
)


@pytest.fixture
async def shop(nginx_server: NginxServer, tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop without a gateway: each service has a port, and NGINX is in front of all."""
    variables = {**SETTINGS, "DATA_DIR": str(tmp_path), "RATE_LIMIT": "2000/minute"}
    async with AsyncExitStack() as stack:
        whole = await stack.enter_async_context(Composition(commerce, Environment(variables)))
        targets = []
        for name in (each.name for each in commerce.placements):
            targets += ["--target", f"{name}={await stack.enter_async_context(served(whole.apps[name]))}"]
        at = f"{HOST}:{nginx_server.port}"
        arguments = ("export", "nginx", "commerce", "--direct", "--listen", at, *targets)
        limits = {name: variables[name] for name in ("RATE_LIMIT", "RATE_LIMIT_SIGN_IN")}
        exported = await asyncio.to_thread(run_portico, tmp_path, *arguments, variables=limits)
        assert exported.returncode == 0, exported.stderr
        nginx_server.serve(exported.stdout)
        anonymous = ShopClient(await stack.enter_async_context(HttpTransport(nginx_server.url())))
        admin = await anonymous.sign_in(**ADMIN)
        jane = await anonymous.register("jane@example.com", PASSWORD)
        yield Shop(admin, jane, await create_product(admin, "LAMP-1", 5), whole.apps)


class TestBehindDirectNginx:
    async def test_a_customer_orders_and_follows_the_order(self, shop: Shop) -> None:
        assert (await shop.jane.get(f"/products/{shop.lamp}"))["name"] == "A lamp"

        order_id = await shop.order(2)
        last = await shop.jane.follow_order(order_id, ["confirmed", "failed"])

        assert last["status"] == "confirmed"
        await shop.wait_for_stock(on_hand=5, reserved=2)

    async def test_routes_that_a_gateway_keeps_back_are_not_found(self, shop: Shop) -> None:
        for method, path in KEPT_BACK:
            rejected = await shop.admin.request(method, path)

            rejected.expect(404, code="not_found", instance="")

    async def test_services_verify_tokens_and_permissions(self, shop: Shop) -> None:
        path = f"/products/{shop.lamp}"
        (await shop.jane.request("DELETE", path)).expect(403, code="permission_missing", instance=path)
        (await ShopClient(shop.jane.transport).request("GET", "/orders")).expect(401)

    async def test_bodies_have_the_limit_of_their_route(self, shop: Shop) -> None:
        async def sent(path: str) -> tuple[int, str]:
            response = await shop.admin.request("POST", path, {"padding": "x" * (2 << 20)})
            return response.status, response.json()["code"]

        assert await sent("/products") == (413, "content_too_large")
        assert await sent("/products/batch") == (422, "invalid_request")  # a service has read it
