"""`portico demo commerce`: a walkthrough with concurrent customers, and its reconciliation."""

from pathlib import Path

import pytest
from tests.cli.running import walked

from portico.cli.demo import Options, _check
from portico.kit.foundation.errors import CommandError
from portico.servers import PostgreSQLServer, RabbitMQServer, RedisServer

FEW = ("--customers", "10", "--products", "200")
PARTS = ("notifications", "payments", "orders", "catalog", "identity", "gateway", "redis", "rabbitmq", "postgresql")


def tour(**others: object) -> Options:
    asked = {"system": "commerce", "url": "", "products": 200, "customers": 10, "email": "", "password": ""}
    return Options(**{**asked, "servers": False, "database": "postgresql", "kill": False, **others})  # type: ignore[arg-type]  # each test names its own


@pytest.mark.slow
class TestDemoCommerce:
    def test_reconciles_after_its_process_is_killed(self, tmp_path: Path) -> None:
        seen = walked(tmp_path, *FEW, "--kill")

        assert "Every response is as promised" in seen.stdout, seen.stdout + seen.stderr
        assert "the whole system is killed (SIGKILL)" in seen.stdout
        assert "Reconciliation" in seen.stdout
        assert seen.returncode == 0
        assert not list(tmp_path.iterdir())

    def test_reconciles_after_a_process_of_each_kind_is_killed(
        self,
        tmp_path: Path,
        postgresql_server: PostgreSQLServer,
        redis_server: RedisServer,
        rabbitmq_server: RabbitMQServer,
    ) -> None:
        seen = walked(tmp_path, "commerce", *FEW, "--servers", "--kill", within=360)

        assert "Every response is as promised" in seen.stdout, seen.stdout + seen.stderr
        assert [part for part in PARTS if f"{part} is killed (SIGKILL)" in seen.stdout] == list(PARTS)
        assert seen.returncode == 0

    def test_a_system_that_does_not_run_is_reported(self, tmp_path: Path) -> None:
        seen = walked(tmp_path, "--url", "http://127.0.0.1:1", "--email", "a@example.com", "--password", "a password")

        assert seen.returncode == 1
        assert "Nothing responds at http://127.0.0.1:1" in seen.stdout


class TestOptions:
    def test_an_unknown_system_is_named(self) -> None:
        with pytest.raises(CommandError, match="no demo of 'clinic'"):
            _check(tour(system="clinic"))

    def test_a_url_begins_with_its_scheme(self) -> None:
        with pytest.raises(CommandError, match="localhost:8000 is not a URL"):
            _check(tour(system="catalog", url="localhost:8000"))

    def test_a_database_is_chosen_for_servers_only(self) -> None:
        with pytest.raises(CommandError, match="--database mariadb is the database server of --servers"):
            _check(tour(database="mariadb"))

    @pytest.mark.parametrize(("system", "option"), [("ticketing", "--products"), ("catalog", "--customers")])
    def test_an_option_that_the_system_does_not_use_is_refused(self, system: str, option: str, tmp_path: Path) -> None:
        seen = walked(tmp_path, system, option, "200")

        assert seen.returncode == 2
        assert f"The demo of {system} has no {option}." in seen.stderr

    def test_a_running_system_is_not_killed(self) -> None:
        with pytest.raises(CommandError, match="that the demo starts"):
            _check(tour(url="http://shop.example", kill=True, email="a@example.com", password="b"))

    def test_a_running_system_needs_staff_permissions(self) -> None:
        with pytest.raises(CommandError, match="staff permissions"):
            _check(tour(url="http://shop.example"))
