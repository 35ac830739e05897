"""`portico run identity` and `portico run catalog`: two processes, a database each."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url
from tests.journeys.systems import ADMIN, Pair, pair, settings_for

from portico.testing.commands import eventually, fetch, on_a_free_port, run_portico
from portico.testing.databases import Databases

CALLERS = 6
ENOUGH = 40  # acknowledged writes, before the process is killed


def product(sku: str) -> dict[str, Any]:
    return {"name": "A lamp", "price": 12.5, "category": "lamps", "sku": sku}


def account(name: str) -> dict[str, Any]:
    return {"email": f"{name}@example.com", "password": "a long enough password"}


@pytest.mark.slow
class TestTwoProcesses:
    def test_a_user_registers_with_identity_and_writes_to_catalog(self, databases: Databases, tmp_path: Path) -> None:
        with pair(tmp_path, databases) as both:
            assert both.post("identity", "/register", account("jane"))[0] == 201
            jane = both.sign_in(**account("jane"))

            written, lamp = both.post("catalog", "/products", product("LAMP-1"), jane)
            refused, _ = both.post("catalog", "/products", product("LAMP-2"))

            assert (written, refused) == (201, 401)
            assert fetch(f"{both['catalog']}/products/{lamp['product_id']}")[1]["sku"] == "LAMP-1"

    @pytest.mark.parametrize("service", ["identity", "catalog"])
    def test_being_killed_under_load_loses_no_acknowledged_write(
        self, service: str, databases: Databases, tmp_path: Path
    ) -> None:
        with pair(tmp_path, databases) as both:
            headers = both.sign_in(**ADMIN)
            acknowledged: list[str] = []

            with ThreadPoolExecutor(CALLERS) as callers:
                for _ in range(CALLERS):
                    callers.submit(_write_until_it_is_gone, both, service, headers, acknowledged)
                eventually(lambda: len(acknowledged) >= ENOUGH, "acknowledged writes")
                both.commands[service].kill()
            both.start(service)

            assert set(acknowledged) <= _written(both, service, headers)


def _write_until_it_is_gone(both: Pair, service: str, headers: dict[str, str], acknowledged: list[str]) -> None:
    for _ in itertools.count():
        name = uuid4().hex
        path, body = ("/products", product(name)) if service == "catalog" else ("/register", account(name))
        try:
            status, _answer = both.post(service, path, body, headers)
        except (OSError, ValueError):  # no answer, or half of one
            return
        if status == 201:
            acknowledged.append(name)


def _written(both: Pair, service: str, headers: dict[str, str]) -> set[str]:
    path, key = ("/products", "sku") if service == "catalog" else ("/users", "email")
    rows: set[str] = set()
    for skip in itertools.count(0, 1000):
        _, page = fetch(f"{both[service]}{path}?limit=1000&skip={skip}", headers=headers)
        rows |= {each[key].removesuffix("@example.com") for each in page}
        if len(page) < 1000:
            return rows
    raise AssertionError


@pytest.mark.slow
class TestRunOnAServer:
    def test_a_database_with_pending_migrations_is_rejected(self, server_databases: Databases, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "run", "catalog", *on_a_free_port(), variables=settings_for(server_databases))

        assert refused.returncode == 2
        assert "portico migrate upgrade" in refused.stderr
        assert "--migrate" in refused.stderr

    def test_starts_after_migrate_upgrade(self, server_databases: Databases, tmp_path: Path) -> None:
        variables = settings_for(server_databases)

        assert "no database yet" in run_portico(tmp_path, "migrate", "status", variables=variables).stdout
        upgraded = run_portico(tmp_path, "migrate", "upgrade", variables=variables)
        status = run_portico(tmp_path, "migrate", "status", variables=variables)

        assert upgraded.returncode == 0, upgraded.stderr
        assert status.stdout.count("none") == 4

    def test_a_wrong_password_is_reported_and_not_printed(self, server_databases: Databases, tmp_path: Path) -> None:
        variables = settings_for(server_databases)
        right = make_url(variables["DATABASE_URL"])
        wrong = right.set(password="hunter2hunter2").render_as_string(hide_password=False)
        variables["DATABASE_URL"] = wrong.replace("%7B", "{").replace("%7D", "}")

        refused = run_portico(tmp_path, "run", "catalog", *on_a_free_port(), variables=variables)

        assert refused.returncode == 2, refused.stderr
        assert "rejected" in refused.stderr
        assert "hunter2" not in refused.stderr
        assert "Traceback" not in refused.stderr

    def test_an_unreachable_server_is_named(self, server_databases: Databases, tmp_path: Path) -> None:
        variables = settings_for(server_databases)
        nowhere = make_url(variables["DATABASE_URL"]).set(port=1).render_as_string(hide_password=False)
        variables["DATABASE_URL"] = nowhere.replace("%7B", "{").replace("%7D", "}")

        refused = run_portico(tmp_path, "run", "catalog", *on_a_free_port(), variables=variables)

        assert refused.returncode == 2, refused.stderr
        assert "127.0.0.1:1 cannot be reached" in refused.stderr
        assert "Traceback" not in refused.stderr

    def test_a_missing_secret_is_named(self, server_databases: Databases, tmp_path: Path) -> None:
        variables = {"DATABASE_URL": settings_for(server_databases)["DATABASE_URL"]}

        refused = run_portico(tmp_path, "run", "identity", "--migrate", *on_a_free_port(), variables=variables)

        assert refused.returncode == 2
        assert "SECRET_KEY is not set" in refused.stderr
        assert "Traceback" not in refused.stderr
