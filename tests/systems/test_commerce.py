from pathlib import Path

import orjson

from portico.kit.calls.channel import Outgoing
from portico.kit.calls.local import LocalChannel
from portico.kit.settings import Environment
from portico.systems.commerce import commerce
from portico.systems.composition import Composition


class TestCommerce:
    def test_stands_on_the_ports_of_its_page(self) -> None:
        ports = {each.name: each.port for each in commerce.placements}

        assert commerce.gateway == 8080
        assert ports == {"identity": 8001, "catalog": 8002, "orders": 8003, "payments": 8004, "notifications": 8005}

    def test_only_staff_write_products(self) -> None:
        assert commerce.default_role == "customer"
        assert not any(permission.endswith(":write") for permission in commerce.roles["customer"])
        assert "products:write" in commerce.roles["staff"]


class TestItsDocument:
    async def test_has_every_call_of_its_page_and_none_that_is_for_services_only(self, tmp_path: Path) -> None:
        async with Composition(commerce, Environment({"DATA_DIR": str(tmp_path)}), background=False) as whole:
            channel = LocalChannel(whole.apps)
            asked = Outgoing(service="gateway", method="GET", path="/openapi.json", timeout=20)
            paths = orjson.loads((await channel.send(asked)).body)["paths"]
            pages = [
                (await channel.send(Outgoing(service="gateway", method="GET", path=path, timeout=20))).status
                for path in ("/docs", "/redoc")
            ]
            await channel.aclose()

        assert {
            *("/register", "/login", "/auth/tickets", "/products", "/products/{product_id}"),
            *("/inventory/{product_id}", "/inventory/{product_id}/adjustments", "/inventory/{product_id}/transactions"),
            *("/inventory/availability", "/orders", "/orders/{order_id}", "/orders/{order_id}/timeline"),
            *("/orders/{order_id}/cancel", "/orders/{order_id}/saga/retry", "/orders/{order_id}/saga/skip"),
            *("/orders/{order_id}/ship", "/orders/{order_id}/deliver", "/orders/{order_id}/return"),
            *("/orders/{order_id}/payments", "/payments/{payment_id}", "/payments/{payment_id}/refunds"),
            *("/payments/webhooks/{provider}", "/notifications", "/mailbox"),
        } <= paths.keys()
        assert "post" not in paths["/payments"]
        assert not [path for path in paths if path.startswith("/inventory/reservations")]
        assert pages == [200, 200]
