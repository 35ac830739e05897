"""The tutorial, followed by a stranger: with Portico's wheel, in an empty folder and a fresh environment."""

from pathlib import Path

import pytest
from tests.cli.running import Addresses
from tests.support.stranger import Stranger
from tests.support.tutorial import follow_tutorial

from portico.testing.commands import eventually, fetch

ADMINISTRATOR = {"email": "admin@example.com", "password": "correct horse battery"}
VARIABLES = {f"ADMIN_{name.upper()}": value for name, value in ADMINISTRATOR.items()}


@pytest.mark.slow
class TestTutorial:
    def test_its_project_passes_its_checks_and_does_what_the_tutorial_shows(
        self, stranger: Stranger, tmp_path: Path
    ) -> None:
        shop = follow_tutorial(tmp_path, lambda folder, *arguments: stranger.run(folder, "portico", *arguments))
        for check in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", "-q"]):
            done = stranger.run(shop, *check)
            assert done.returncode == 0, done.stdout + done.stderr

        at = Addresses.of("gateway", "identity", "catalog", "items")
        gateway = at["gateway"]
        with stranger.start(shop, "up", *at.options, variables=VARIABLES) as up:
            up.wait_for(gateway)
            token = fetch(gateway + "/login", method="POST", body=ADMINISTRATOR)[1]["access_token"]
            headers = {"authorization": f"Bearer {token}"}

            def post(path: str, **body: object) -> dict[str, str]:
                status, answer = fetch(gateway + path, method="POST", body=body, headers=headers)
                assert status in {201, 202}, answer
                created: dict[str, str] = answer
                return created

            item = post("/items", name="Shop window")["item_id"]
            lamp = post("/products", name="Lamp", price=49.9, category="home", sku="LAMP-1", stock_quantity=1)
            post(f"/items/{item}/reservation", product_id=lamp["product_id"])
            post("/register", email="ada@example.com", password="correct horse battery", name="Ada")

            eventually(lambda: fetch(f"{gateway}/items/{item}")[1]["reservation"] == "reserved", "the end of the saga")
            assert fetch(f"{gateway}/products/{lamp['product_id']}")[1]["stock_quantity"] == 0
            eventually(
                lambda: "Welcome gift" in [each["name"] for each in fetch(gateway + "/items")[1]], "the welcome gift"
            )
            assert up.stop() == 0
