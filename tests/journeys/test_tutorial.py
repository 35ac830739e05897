"""The tutorial's project, in use: what its last section shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.running import Addresses
from tests.support.tutorial import follow_tutorial

from portico.testing.commands import Command, eventually, fetch

ROOT = Path(__file__).parents[2]
ADMINISTRATOR = {"email": "admin@example.com", "password": "correct horse battery"}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The folder of the tutorial's project."""
    return follow_tutorial(tmp_path)


@pytest.mark.slow
class TestTutorial:
    def test_its_project_passes_all_checks(self, shop: Path) -> None:
        sources = os.pathsep.join([str(shop / "src"), str(ROOT / "src")])
        environ = {**os.environ, "PYTHONPATH": sources, "MYPYPATH": str(ROOT / "src")}
        for check in (
            ["ruff", "check"],
            ["ruff", "format", "--check"],
            ["mypy"],
            ["pytest", "-q", "-p", "no:cacheprovider"],
        ):
            done = subprocess.run(
                [sys.executable, "-m", *check],
                cwd=shop,
                env=environ,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr

    def test_its_system_does_what_the_tutorial_shows(self, shop: Path) -> None:
        at = Addresses.of("gateway", "identity", "catalog", "items")
        variables = {f"ADMIN_{name.upper()}": value for name, value in ADMINISTRATOR.items()}
        gateway = at["gateway"]

        with Command(shop, "up", *at.options, variables=variables) as up:
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
