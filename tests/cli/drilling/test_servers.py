"""The drill on servers: nothing is found in the shop, and nothing of the drill stays."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.kit.telemetry.restoring import silence

from portico.cli.drilling.servers import DATABASE, own_servers, run_on_servers
from portico.cli.drilling.strikes import possible
from portico.drill import DrillSettings
from portico.drill.faults import ALL_FAULTS
from portico.kit.runtime.signals import INTERRUPTED
from portico.servers import PostgreSQLServer, RabbitMQServer, RedisServer
from portico.systems.commerce import commerce
from portico.testing.commands import Command, eventually

ORDERS = 30
SEED = 26  # kills each of the servers and the catalogue, and cuts connections to PostgreSQL
FORGET = """
    CREATE FUNCTION notifications.forget() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN DELETE FROM notifications.inbox WHERE event_id = new.event_id; RETURN NULL; END $$;
    CREATE TRIGGER forget AFTER INSERT ON notifications.inbox FOR EACH ROW
    WHEN (new.consumer = 'queue-order-mail') EXECUTE FUNCTION notifications.forget();
"""
LONG = 150.0  # seconds; six processes and three servers on a machine that does much else

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _installed(postgresql_server: PostgreSQLServer, redis_server: RedisServer, rabbitmq_server: RabbitMQServer) -> None:
    """Leave out what follows, or fail, where the servers are not installed."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with silence():
        yield


class TestTheShop:
    async def test_keeps_its_promises_whoever_is_killed(self, tmp_path: Path) -> None:
        drill = DrillSettings(orders=ORDERS, seed=SEED, faults=possible(ALL_FAULTS), rate=0.15)

        with own_servers() as servers:
            report = await run_on_servers(commerce, "commerce", drill, servers, tmp_path)

        assert [*report.breaches, *report.story] == []
        assert report.orders.total() == ORDERS
        assert report.injected == {
            "PostgreSQL: all connections cut": 1,
            "PostgreSQL: killed and started again": 1,
            "RabbitMQ: killed and started again": 1,
            "Redis: killed and started again": 1,
            "catalog: killed": 1,
        }
        assert report.crashes == 1
        assert all(report.checked.values())


class TestAPlantedBug:
    async def test_an_inbox_that_forgets_is_found_out(self, tmp_path: Path) -> None:
        def forget(said: str) -> None:
            if "faults to come" in said:  # the shop is open, and nobody has ordered yet
                servers.postgresql.execute(FORGET, DATABASE)

        drill = DrillSettings(orders=8, seed=1, faults=("crash",), rate=0)
        with own_servers() as servers:
            report = await run_on_servers(commerce, "commerce", drill, servers, tmp_path, progress=forget)

        assert {breach.rule for breach in report.breaches} == {"every event was handled by every consumer, once"}
        assert any("queue-order-mail" in breach.said for breach in report.breaches)
        assert report.story


class TestInterrupted:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_nothing_that_it_started_goes_on(self, tmp_path: Path, number: signal.Signals) -> None:
        options = ("commerce", "--on", "servers", "--orders", "100000", "--faults", "slow", "--rate", "0.5")
        with Command(tmp_path, "drill", *options) as drill:
            eventually(lambda: "stopped for a second" in drill.out, "the first fault", LONG)
            children = drill.children

            drill.process.send_signal(number)

            assert drill.process.wait(LONG) == (-number if number is signal.SIGKILL else INTERRUPTED), drill.err
            assert len(children) > len(commerce.placements)
            _, alive = psutil.wait_procs(children, LONG)
            assert alive == []
