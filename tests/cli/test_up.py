import http.client
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tests.cli.running import LIBRARY, Addresses, up

from portico.cli.up import names_of_other_data
from portico.systems.commerce import commerce
from portico.systems.ticketing import ticketing
from portico.testing.commands import Command, eventually, fetch, is_healthy, run_portico

PARTS = ("gateway", "loans", "patience")


@pytest.fixture
def at() -> Addresses:
    return Addresses.of(*PARTS)


@contextmanager
def open_stream(address: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
    with closing(connection):
        connection.request("GET", "/patience/stream")
        answer = connection.getresponse()
        assert answer.readline() == b"data: hello\n"
        yield answer


@dataclass(frozen=True)
class Running:
    """A system that several tests share. They leave it running.

    Args:
        library: the command.
        at: its addresses.
    """

    library: Command
    at: Addresses


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    at = Addresses.of(*PARTS)
    with up(tmp_path_factory.mktemp("library"), LIBRARY, at) as library:
        library.wait_for(at["gateway"])
        eventually(lambda: "Ctrl-C" in library.err, "the addresses")
        yield Running(library, at)


class TestUp:
    def test_serves_the_gateway_and_each_service_on_its_own_port(self, running: Running) -> None:
        assert fetch(running.at["gateway"] + "/books") == (200, [])
        assert fetch(running.at["loans"] + "/books") == (200, [])
        assert fetch(running.at["patience"] + "/books")[0] == 404

    def test_prints_addresses(self, running: Running) -> None:
        assert all(running.at[name] in running.library.err for name in PARTS)
        assert running.library.err.splitlines()[:2] == [
            "Loading the system …",
            "Starting loans, patience and the gateway …",
        ]
        for line in running.library.out.splitlines():
            json.loads(line)  # what programs read holds log lines only

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_stops_cleanly(self, number: signal.Signals, tmp_path: Path, at: Addresses) -> None:
        with up(tmp_path, LIBRARY, at) as library:
            library.wait_for(at["gateway"])

            assert library.stop(number) == 0
            last = [json.loads(line) for line in library.out.splitlines()][-2:]
            assert [(line["service"], line["event"]) for line in last] == [
                ("library", "stopping"),
                ("library", "stopped"),
            ]

    def test_finishes_requests_in_flight(self, tmp_path: Path, at: Addresses) -> None:
        with up(tmp_path, LIBRARY, at) as library, ThreadPoolExecutor() as threads:
            library.wait_for(at["gateway"])
            answers = [threads.submit(fetch, at[name] + "/patience/slow") for name in ("gateway", "patience")]
            eventually(lambda: library.out.count("slow began") == 2, "the requests")

            assert library.stop() == 0
            assert [each.result() for each in answers] == [(200, {"answer": "at last"})] * 2

    def test_event_streams_end_and_do_not_delay_the_stop(self, tmp_path: Path, at: Addresses) -> None:
        with up(tmp_path, LIBRARY, at) as library:
            library.wait_for(at["gateway"])
            with open_stream(at["gateway"]) as through_gateway, open_stream(at["patience"]) as direct:
                assert library.stop() == 0
                for stream in (through_gateway, direct):
                    assert stream.read() == b"\n"  # a proper end, not a broken connection
            assert "exceeded" not in library.out

    def test_a_second_interrupt_ends_it_at_once(self, tmp_path: Path, at: Addresses) -> None:
        with ThreadPoolExecutor() as threads, up(tmp_path, LIBRARY, at) as library:
            library.wait_for(at["gateway"])
            threads.submit(fetch, at["patience"] + "/patience/never")
            eventually(lambda: "never began" in library.out, "the request")
            library.process.send_signal(signal.SIGINT)
            eventually(lambda: "stopping" in library.out, "the first signal")

            assert library.stop(signal.SIGINT) == 130

    def test_requests_are_aborted_after_the_grace_period(self, tmp_path: Path, at: Addresses) -> None:
        patience = {"GRACE_PERIOD": "1"}
        with ThreadPoolExecutor() as threads, up(tmp_path, LIBRARY, at, variables=patience) as library:
            library.wait_for(at["gateway"])
            for name in ("gateway", "patience"):
                threads.submit(fetch, at[name] + "/patience/never")
            eventually(lambda: library.out.count("never began") == 2, "the requests")

            assert library.stop() == 0

    def test_a_taken_port_is_named_with_its_process(self, running: Running, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "up", LIBRARY, *running.at.options)

        assert refused.returncode == 2
        assert f"Port {running.at.ports['gateway']} on 127.0.0.1 is taken by python" in refused.stderr
        assert f"process {running.library.process.pid}" in refused.stderr
        assert "--gateway-port" in refused.stderr
        assert "Traceback" not in refused.stderr

    def test_an_unknown_system_is_rejected_with_the_known_ones(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "up", "catalgo")

        assert refused.returncode == 2
        assert "Did you mean catalog?" in refused.stderr

    @pytest.mark.parametrize("path", ["nowhere.systems:shop", "tests.cli.systems:nothing"])
    def test_an_invalid_import_path_is_rejected(self, path: str, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "up", path)

        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr

    def test_a_database_is_chosen_for_servers_only(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "up", "--database", "mariadb")

        assert refused.returncode == 2
        assert "--database mariadb is the database server of --servers." in refused.stderr

    def test_data_of_another_system_is_noticed(self, tmp_path: Path) -> None:
        for name in ("auth", "broker", "orders", "payments"):
            (tmp_path / f"{name}.db").touch()

        assert names_of_other_data(ticketing, tmp_path) == ["orders"]
        assert names_of_other_data(commerce, tmp_path) == ["auth"]

    def test_free_ports_are_found(self, tmp_path: Path) -> None:
        with Command(tmp_path, "up", LIBRARY, "--free-ports") as library:
            eventually(lambda: "Ctrl-C" in library.err, "the addresses")
            gateway = next(line.split()[1] for line in library.err.splitlines() if line.strip().startswith("gateway"))

            assert is_healthy(gateway)


@pytest.mark.slow
class TestSplit:
    def test_runs_a_process_for_each_part(self, tmp_path: Path, at: Addresses) -> None:
        with up(tmp_path, LIBRARY, at, "--split") as library:
            library.wait_for(at["gateway"])

            assert len({each.pid for part in PARTS for each in library.workers(part, at.ports[part])}) == 3
            assert fetch(at["gateway"] + "/books") == (200, [])
            eventually(lambda: "Ctrl-C" in library.err, "the addresses")
            assert all(f"{part} is ready" in library.err for part in PARTS)
            assert "is ready (3 of 3)" in library.err
            assert library.stop() == 0
            lines = [json.loads(line) for line in library.out.splitlines()]
            assert sorted(line["service"] for line in lines if line["event"] == "stopping") == sorted(PARTS)

    def test_restarts_a_killed_process_without_failed_requests(self, tmp_path: Path, at: Addresses) -> None:
        with up(tmp_path, LIBRARY, at, "--split") as library:
            library.wait_for(at["gateway"])
            [killed] = library.workers("loans", at.ports["loans"])
            killed.kill()

            assert fetch(at["loans"] + "/books") == (200, [])  # it waited for the next one to accept it
            assert killed not in library.workers("loans", at.ports["loans"])
            assert library.stop() == 0

    def test_event_streams_end_and_do_not_delay_the_stop(self, tmp_path: Path, at: Addresses) -> None:
        with up(tmp_path, LIBRARY, at, "--split") as library:
            library.wait_for(at["gateway"])
            with open_stream(at["gateway"]) as stream:
                assert library.stop() == 0
                assert stream.read() == b"\n"

    def test_workers_end_with_their_parent(self, tmp_path: Path, at: Addresses) -> None:
        with up(tmp_path, LIBRARY, at, "--split") as library:
            library.wait_for(at["gateway"])
            children = library.children

            os.kill(library.process.pid, signal.SIGKILL)

            _, alive = psutil.wait_procs(children, timeout=20)
            assert alive == []

    def test_a_worker_that_cannot_start_ends_it(self, tmp_path: Path, at: Addresses) -> None:
        (tmp_path / ".portico").mkdir()
        (tmp_path / ".portico" / "loans.db").write_text("no database at all, whatever it says of itself" * 10)

        with up(tmp_path, LIBRARY, at, "--split") as library:
            assert library.process.wait(120) == 2
            assert "is damaged" in library.err
            assert "Traceback" not in library.err

    @pytest.mark.parametrize("options", [["--split"], ["--workers", "2"]], ids=["split", "workers"])
    def test_events_between_processes_need_a_broker(self, options: list[str], tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "up", "commerce", *options)

        assert refused.returncode == 2
        assert "notifications" in refused.stderr
        assert all(word in refused.stderr for word in ("--servers", "RABBITMQ_URL", "NATS_URL"))

    def test_workers_are_rejected_with_embedded_backends(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "up", LIBRARY, "--workers", "2")

        assert refused.returncode == 2
        assert "DATABASE_URL" in refused.stderr
        assert "REDIS_URL" in refused.stderr
