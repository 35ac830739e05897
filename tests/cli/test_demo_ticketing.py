"""`portico demo ticketing`: a hall that sells out, and its reconciliation."""

import signal
from pathlib import Path

import pytest
from tests.cli.running import walked
from tests.support.signals import default_action

from portico.cli.demo import PICTURE
from portico.kit.runtime.signals import INTERRUPTED
from portico.servers import MariaDBServer, PostgreSQLServer, RabbitMQServer, RedisServer
from portico.testing.commands import Command, eventually

LONG = 240  # seconds
FEW = ("ticketing", "--customers", "30")


@pytest.mark.slow
class TestDemoTicketing:
    def test_reconciles_seats_tickets_money_and_queue(self, tmp_path: Path) -> None:
        seen = walked(tmp_path, *FEW)

        assert "Every response is as promised" in seen.stdout, seen.stdout + seen.stderr
        assert "booked from the waiting list" in seen.stdout
        assert "let the hold run out" in seen.stdout
        assert (tmp_path / PICTURE).read_text("utf-8").startswith("<svg")
        assert seen.returncode == 0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_a_signal_stops_the_system_that_it_started(self, tmp_path: Path, number: signal.Signals) -> None:
        with default_action(number):
            started = Command(tmp_path, "demo", *FEW)
        with started as demo:
            eventually(lambda: demo.children, "the system", LONG)
            children = demo.children

            demo.process.send_signal(number)

            assert demo.process.wait(LONG) == INTERRUPTED, demo.err
            assert [each for each in children if each.is_running()] == []

    @pytest.mark.parametrize("database", ["postgresql", "mariadb"])
    def test_reconciles_on_servers(
        self,
        database: str,
        postgresql_server: PostgreSQLServer,
        mariadb_server: MariaDBServer,
        redis_server: RedisServer,
        rabbitmq_server: RabbitMQServer,
        tmp_path: Path,
    ) -> None:
        seen = walked(tmp_path, *FEW, "--servers", "--database", database, within=480)

        assert "Every response is as promised" in seen.stdout, seen.stdout + seen.stderr
        assert seen.returncode == 0
