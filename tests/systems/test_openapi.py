"""The OpenAPI documents of the shipped systems, as their gateways serve them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import orjson
import pytest

from portico.kit.calls.channel import Incoming, Outgoing
from portico.kit.calls.local import LocalChannel
from portico.kit.settings import Environment
from portico.systems.commerce import commerce
from portico.systems.composition import Composition


async def fetch_pages(folder: str) -> dict[str, Incoming]:
    """Return the document and the pages that show it, by path."""
    async with Composition(commerce, Environment({"DATA_DIR": folder}), background=False) as whole:
        channel = LocalChannel(whole.apps)
        asked = {path: Outgoing("gateway", "GET", path, timeout=60) for path in ("/openapi.json", "/docs", "/redoc")}
        found = {path: await channel.send(each) for path, each in asked.items()}
        await channel.aclose()
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Incoming]:
    return asyncio.run(fetch_pages(str(tmp_path_factory.mktemp("data"))))


@pytest.fixture(scope="module")
def document(pages: dict[str, Incoming]) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(pages["/openapi.json"].body)
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        yield from ((f"{method.upper()} {path}", operation) for method, operation in item.items())


def bodies(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the contents that have a schema: of the request, and of the successful responses."""
    responses = [each for status, each in operation["responses"].items() if status.startswith("2")]
    for each in (operation.get("requestBody", {}), *responses):
        yield from (content for content in each.get("content", {}).values() if content.get("schema"))


class TestDocument:
    def test_has_every_call_of_the_page_of_commerce_and_none_for_services_only(self, document: dict[str, Any]) -> None:
        paths = document["paths"]

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

    def test_is_shown_on_two_pages(self, pages: dict[str, Incoming]) -> None:
        assert [pages[path].status for path in ("/docs", "/redoc")] == [200, 200]

    def test_begins_with_accounts_and_ends_with_discovery_and_webhooks(self, document: dict[str, Any]) -> None:
        tags = [tag["name"] for tag in document["tags"]]
        first_tags = list(dict.fromkeys(operation["tags"][0] for _, operation in operations(document)))

        assert tags[:6] == ["accounts", "sessions", "users", "products", "inventory", "orders"]
        assert tags[-3:] == ["audit", "discovery", "webhooks"]
        assert first_tags == tags

    def test_describes_each_tag(self, document: dict[str, Any]) -> None:
        assert [tag["name"] for tag in document["tags"] if not tag.get("description")] == []

    def test_names_each_operation_after_its_function(self, document: dict[str, Any]) -> None:
        names = {operation["operationId"] for _, operation in operations(document)}

        assert len(names) == len(list(operations(document)))
        assert {"place_order", "create_product", "register", "list_payments", "list_order_payments"} <= names
        assert not [name for name in names if name.endswith(("_get", "_post", "_put", "_patch", "_delete"))]

    def test_shows_sign_in_and_registration_once(self, document: dict[str, Any]) -> None:
        assert {"/login", "/register"} <= document["paths"].keys()
        assert not {"/auth/login", "/auth/register"} & document["paths"].keys()

    def test_has_a_valid_example_of_each_body(self, document: dict[str, Any]) -> None:
        components = {"components": document["components"]}
        without, invalid = [], []
        for name, operation in operations(document):
            for content in bodies(operation):
                if "example" not in content:
                    without.append(name)
                elif not jsonschema_rs.is_valid({**components, **content["schema"]}, content["example"]):
                    invalid.append((name, content["example"]))

        assert (without, invalid) == ([], [])

    def test_its_example_of_an_order_can_be_placed(self, document: dict[str, Any]) -> None:
        content = document["paths"]["/orders"]["post"]["requestBody"]["content"]["application/json"]
        quay = {"street": "1 Quay", "city": "Porto", "state": "13", "zip": "4050", "country": "PT"}

        assert content["example"] == {
            "items": [{"product_id": "prod_01jd8m2v4x6z8q0s2t4w6y8a0b", "quantity": 2}],
            "shipping_address": quay,
            "billing_address": quay,
            "payment_method": "pm_ok",
        }
