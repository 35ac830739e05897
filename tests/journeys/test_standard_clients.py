"""Clients of the field use a system: one that is generated from the OpenAPI document, and newman."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.cli.running import Addresses, up
from tests.journeys.shop import ADMIN, SETTINGS
from tests.support.programs import node_file

from portico.gateway.export import postman
from portico.kit.runtime.shipped_systems import shipped_systems
from portico.shop_client import order_draft, order_item
from portico.systems.commerce import commerce
from portico.testing.commands import eventually, fetch, run_portico

pytestmark = pytest.mark.slow


@dataclass
class Running:
    """A running commerce system: the address of its gateway, and its OpenAPI document."""

    address: str
    document: dict[str, Any]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    at = Addresses.of(*commerce.ports)
    with up(tmp_path_factory.mktemp("shop"), "commerce", at, variables=SETTINGS) as command:
        command.wait_for(at["gateway"])
        status, document = fetch(f"{at['gateway']}/openapi.json")
        assert status == 200
        yield Running(at["gateway"], document)


# The generator knows no images: their bytes are returned.
GENERATOR = """
package_name_override: {package}
post_hooks: []
content_type_overrides: {{image/png: application/octet-stream, image/svg+xml: application/octet-stream}}
"""


def generate_client(document: dict[str, Any], folder: Path, package: str) -> set[str]:
    """Generate a client as `package` in `folder`. A warning fails the test. Return the names of its operations."""
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "generator.yaml").write_text(GENERATOR.format(package=package))
    source = ["--path", "openapi.json", "--config", "generator.yaml", "--meta", "none", "--output-path", package]
    command = [sys.executable, "-m", "openapi_python_client", "generate", *source, "--fail-on-warning"]

    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    return {path.stem for path in (folder / package / "api").glob("*/*.py") if path.stem != "__init__"}


def operation_ids(document: dict[str, Any]) -> set[str]:
    return {operation["operationId"] for shared in document["paths"].values() for operation in shared.values()}


class TestGeneratedClient:
    @pytest.mark.parametrize("system", shipped_systems())
    def test_has_every_operation(self, system: str, tmp_path: Path) -> None:
        document = json.loads(run_portico(tmp_path, "openapi", system).stdout)

        operations = generate_client(document, tmp_path, f"{system}_client")

        assert len(operations) > 20
        assert operations == operation_ids(document)


@dataclass
class Shop:
    """A client that was generated from the document of a running commerce system, signed in as the administrator."""

    package: str
    client: Any

    @classmethod
    def signed_in(cls, package: str, address: str) -> "Shop":
        found = import_module(package)
        with found.Client(base_url=address) as client:
            anyone = cls(package, client)
            tokens = anyone.call("sessions.sign_in", body=anyone.model("SignIn", ADMIN))
        return cls(package, found.AuthenticatedClient(base_url=address, token=tokens.access_token))

    def model(self, name: str, values: dict[str, Any]) -> Any:
        return getattr(import_module(f"{self.package}.models"), name).from_dict(values)

    def call(self, operation: str, *path: str, **values: Any) -> Any:
        """Call an operation, such as `orders.read_order`. Return the model of its response."""
        return import_module(f"{self.package}.api.{operation}").sync(*path, client=self.client, **values)


@pytest.fixture(scope="module")
def shop(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("generated")
    generate_client(running.document, folder, "generated_shop_client")
    sys.path.insert(0, str(folder))
    try:
        shop = Shop.signed_in("generated_shop_client", running.address)
        with shop.client:
            yield shop
    finally:
        sys.path.remove(str(folder))


class TestGeneratedClientInUse:
    def test_places_an_order_and_follows_it(self, shop: Shop) -> None:
        lamp = {"name": "A lamp", "price": 12.5, "category": "lamps", "sku": "CLIENT-1", "stock_quantity": 5}

        product = shop.call("products.create_product", body=shop.model("ProductCreate", lamp))
        draft = shop.model("OrderCreate", order_draft(order_item(product.product_id, 2)))
        order = shop.call("orders.place_order", body=draft)
        confirmed = eventually(self.confirmed(shop, order.order_id), "the confirmation of the order")

        assert confirmed.total == 25
        assert [each.product_id for each in shop.call("products.list_products", search="lamp")] == [product.product_id]
        (payment,) = shop.call("orders.list_order_payments", order.order_id)
        assert (payment.status, payment.amount) == ("succeeded", 25)

    def test_a_missing_product_is_the_documented_problem(self, shop: Shop) -> None:
        problem = shop.call("products.read_product", "prod_0000000000000000000000000a")

        assert type(problem).__name__ == "ProductNotFound"
        assert problem.code == "product_not_found"

    @staticmethod
    def confirmed(shop: Shop, order_id: str) -> Callable[[], Any]:
        """Return a function that reads the order, and returns it once it is confirmed."""

        def read() -> Any:
            order = shop.call("orders.read_order", order_id)
            return order if order.status == "confirmed" else None

        return read


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
