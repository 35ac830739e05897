"""The drill on servers finds no breach, finds a planted bug, and leaves no process behind."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.kit.telemetry.restoring import silence

from portico.cli import drill as command
from portico.drill import DrillSettings
from portico.drill.distributed import run_on_servers
from portico.drill.fault_schedule import feasible_kinds
from portico.drill.faults import ALL_FAULTS
from portico.drill.faults.plan import BATCH_SITES
from portico.drill.part_processes import Worker
from portico.drill.private_servers import DATABASE, start_private_servers
from portico.kit.runtime.signals import INTERRUPTED
from portico.servers import PostgreSQLServer, RabbitMQServer, RedisServer
from portico.systems.commerce import commerce
from portico.testing.commands import Command, environment, eventually
from portico.testing.preloaded import preloaded_server

ORDERS = 30
SEED = 26  # kills each server and catalog, and terminates the connections to PostgreSQL
FORGET = """
    CREATE FUNCTION notifications.forget() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN DELETE FROM notifications.inbox WHERE event_id = new.event_id; RETURN NULL; END $$;
    CREATE TRIGGER forget AFTER INSERT ON notifications.inbox FOR EACH ROW
    WHEN (new.consumer = 'queue-order-mail') EXECUTE FUNCTION notifications.forget();
"""
LONG = 150.0  # seconds; six processes and three servers on a busy machine

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _installed(postgresql_server: PostgreSQLServer, redis_server: RedisServer, rabbitmq_server: RabbitMQServer) -> None:
    """Skip the tests, or fail, if the servers are not installed."""


@pytest.fixture
def worker() -> Worker:
    """How worker processes of commerce are started."""
    return Worker(command.WORKER, "commerce", preloaded_server(environment()["PYTHONPATH"]))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with silence():
        yield


class TestCommerce:
    async def test_keeps_its_invariants_when_processes_and_servers_are_killed(
        self, worker: Worker, tmp_path: Path
    ) -> None:
        drill = DrillSettings(orders=ORDERS, seed=SEED, faults=feasible_kinds(ALL_FAULTS), rate=0.15)

        with start_private_servers() as servers:
            report = await run_on_servers(commerce, worker, drill, servers, tmp_path)

        assert [*report.breaches, *report.history] == []
        assert report.outcomes.total() == ORDERS
        by_schedule = {
            what: number for what, number in report.injected.items() if what.split(":")[0] not in BATCH_SITES
        }
        assert by_schedule == {
            "PostgreSQL: all connections terminated": 1,
            "PostgreSQL: killed and restarted": 1,
            "RabbitMQ: killed and restarted": 1,
            "Redis: killed and restarted": 1,
            "catalog: killed": 1,
        }
        assert report.crashes == 1 + report.injected["cohort: crash"] + report.injected["batch: crash"]
        assert report.points > ORDERS  # those inside batched calls and cohorts
        assert all(report.checked.values())


class TestAPlantedBug:
    async def test_an_inbox_that_forgets_is_found(self, worker: Worker, tmp_path: Path) -> None:
        def forget(message: str) -> None:
            if "faults scheduled" in message:  # the system runs, and no order is placed
                servers.postgresql.execute(FORGET, DATABASE)

        drill = DrillSettings(orders=8, seed=1, faults=("crash",), rate=0)
        with start_private_servers() as servers:
            report = await run_on_servers(commerce, worker, drill, servers, tmp_path, progress=forget)

        assert {breach.invariant for breach in report.breaches} == {"every consumer handled every event"}
        assert any("queue-order-mail" in breach.message for breach in report.breaches)
        assert report.history


class TestInterrupted:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_every_process_that_it_started_ends(self, tmp_path: Path, number: signal.Signals) -> None:
        options = ("commerce", "--on", "servers", "--orders", "100000", "--faults", "slow", "--rate", "0.5")
        with Command(tmp_path, "drill", *options) as drill:
            eventually(lambda: "paused for one second" in drill.out, "the first fault", LONG)
            children = drill.children

            drill.process.send_signal(number)

            assert drill.process.wait(LONG) == (-number if number is signal.SIGKILL else INTERRUPTED), drill.err
            assert len(children) > len(commerce.placements)
            _, alive = psutil.wait_procs(children, LONG)
            assert alive == []
