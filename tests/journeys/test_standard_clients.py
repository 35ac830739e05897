"""Clients of the field use a running system through its gateway: one made from the OpenAPI document, and newman."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiopenapi3 import OpenAPI
from aiopenapi3.errors import HTTPClientError
from tests.cli.running import Addresses, up
from tests.support.programs import node_file

from portico.gateway.export import postman
from portico.shop_client import order_draft, order_item
from portico.systems.commerce import commerce
from portico.testing.commands import eventually, fetch

pytestmark = pytest.mark.slow

ADMIN = {"email": "admin@example.com", "password": "correct horse battery"}
VARIABLES = {
    "ADMIN_EMAIL": ADMIN["email"],
    "ADMIN_PASSWORD": ADMIN["password"],
    "IDENTITY_PASSWORD_PASSES": "1",
    "IDENTITY_PASSWORD_MEMORY_KIB": "64",
    "RATE_LIMIT": "10000/minute",
    "RATE_LIMIT_SIGN_IN": "1000/minute",
}


@dataclass
class Running:
    """A running commerce system: the address of its gateway, and its OpenAPI document."""

    address: str
    document: dict[str, Any]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    at = Addresses.of(*commerce.ports)
    with up(tmp_path_factory.mktemp("shop"), "commerce", at, variables=VARIABLES) as command:
        command.wait_for(at["gateway"])
        status, document = fetch(f"{at['gateway']}/openapi.json")
        assert status == 200
        yield Running(at["gateway"], document)


@pytest.fixture(scope="module")
def api(running: Running) -> OpenAPI:
    """A client made from the whole document, signed in as the administrator. It validates each response."""
    document = {**running.document, "servers": [{"url": running.address}]}
    client = OpenAPI(f"{running.address}/openapi.json", document, session_factory=httpx2.Client)
    signed_in = call(client, "post", "/login", data=ADMIN)
    client.authenticate(bearer=signed_in.access_token)
    return client


def call(api: OpenAPI, method: str, path: str, *, data: Any = None, **parameters: Any) -> Any:
    """Call an operation; return the model of its response."""
    return api.createRequest((path, method))(parameters=parameters, data=data)


class TestClientOfTheDocument:
    def test_has_every_operation(self, api: OpenAPI, running: Running) -> None:
        operations = {(path, method) for path, shared in running.document["paths"].items() for method in shared}

        assert len(operations) > 50
        assert all(api.createRequest(operation) for operation in operations)

    def test_places_an_order_and_follows_it(self, api: OpenAPI) -> None:
        lamp = {"name": "A lamp", "price": 12.5, "category": "lamps", "sku": "CLIENT-1", "stock_quantity": 5}

        product = call(api, "post", "/products", data=lamp)
        order = call(api, "post", "/orders", data=order_draft(order_item(product.product_id, 2)))
        confirmed = eventually(
            lambda: next(
                (
                    found
                    for found in [call(api, "get", "/orders/{order_id}", order_id=order.order_id)]
                    if found.status == "confirmed"
                ),
                None,
            ),
            "the confirmation of the order",
        )

        assert confirmed.total == 25
        assert [each.product_id for each in call(api, "get", "/products", search="lamp")] == [product.product_id]
        (payment,) = call(api, "get", "/orders/{order_id}/payments", order_id=order.order_id)
        assert (payment.status, payment.amount) == ("succeeded", 25)

    def test_a_missing_product_is_a_client_error(self, api: OpenAPI) -> None:
        with pytest.raises(HTTPClientError) as caught:
            call(api, "get", "/products/{product_id}", product_id="prod_0000000000000000000000000a")

        assert caught.value.status_code == 404
        assert b"product_not_found" in caught.value.data


class TestPostmanCollection:
    def test_newman_runs_every_request_and_finds_only_documented_statuses(
        self, running: Running, tmp_path: Path
    ) -> None:
        (tmp_path / "collection.json").write_text(postman(running.document, running.address))
        command = ["node", node_file("newman/bin/newman.js"), "run", "collection.json", "--reporters", "json"]
        account = [part for name, value in ADMIN.items() for part in ("--env-var", f"{name}={value}")]
        result = ["--reporter-json-export", "result.json"]

        ran = subprocess.run([*command, *account, *result], cwd=tmp_path, capture_output=True, text=True, check=False)

        run = json.loads((tmp_path / "result.json").read_text())["run"]
        assert [each["error"]["message"] for each in run["failures"]] == []
        assert ran.returncode == 0, ran.stderr
        operations = sum(len(shared) for shared in running.document["paths"].values())
        assert run["stats"]["requests"]["total"] == operations + 1  # signing in comes first
        answers = {
            (each["item"]["request"]["method"], _path(each)): each["response"]["code"] for each in run["executions"]
        }
        assert answers["POST", "login"] == 200
        assert answers["POST", "products"] == 201
        assert answers["GET", "products/:product_id"] == 200
        assert answers["GET", "audit"] == 200


def _path(execution: Any) -> str:
    return "/".join(execution["item"]["request"]["url"]["path"])
