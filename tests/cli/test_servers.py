"""`portico up --servers`: private servers from installed programs."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tests.cli.running import LIBRARY, Addresses, up
from tests.cli.systems import library

from portico.cli.private_servers import private_servers
from portico.kit.foundation.errors import CommandError
from portico.kit.settings import Environment
from portico.servers import PostgreSQLServer, RabbitMQServer, RedisServer, programs
from portico.testing.commands import Command, eventually, fetch, run_portico

PARTS = ("gateway", "loans", "patience")
LONG = 150.0  # seconds
SERVERS = ("postgresql", "redis", "rabbitmq")


@pytest.fixture
def at() -> Addresses:
    return Addresses.of(*PARTS)


@pytest.fixture(autouse=True)
def _installed(postgresql_server: PostgreSQLServer, redis_server: RedisServer, rabbitmq_server: RabbitMQServer) -> None:
    """Skip the tests, or fail, if the servers are not installed."""


@dataclass(frozen=True)
class Running:
    """A system on servers that several tests share. They leave it running.

    Args:
        system: the command.
        folder: its working directory.
        at: its addresses.
    """

    system: Command
    folder: Path
    at: Addresses


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    postgresql_server: PostgreSQLServer,
    redis_server: RedisServer,
    rabbitmq_server: RabbitMQServer,
) -> Iterator[Running]:
    folder, at = tmp_path_factory.mktemp("servers"), Addresses.of(*PARTS)
    with up(folder, LIBRARY, at, "--servers", variables={"LOG_LEVEL": "debug"}) as system:
        is_up(system)
        yield Running(system, folder, at)


def is_up(system: Command, times: int = 1) -> None:
    """Wait until the system has printed its addresses `times` times, after its servers have started."""
    eventually(lambda: system.err.count("Ctrl-C") == times or system.process.poll() is not None, "the addresses", LONG)
    assert system.process.poll() is None, system.err


def server_variables(folder: Path) -> dict[str, str]:
    """Return the settings that are written for other commands."""
    text = (folder / ".portico" / "servers" / "environment").read_text()
    return dict(shlex.split(line)[0].split("=", 1) for line in text.splitlines())


def process_of(folder: Path, server: str) -> psutil.Process:
    remembered = json.loads((folder / ".portico" / "servers" / f"{server}.json").read_text())
    return psutil.Process(remembered["pid"])


def password_of(folder: Path, server: str) -> str:
    found: str = json.loads((folder / ".portico" / "servers" / f"{server}.json").read_text())["password"]
    return found


def migrated(folder: Path) -> str:
    """Return the output of `portico migrate status` for the system's databases."""
    done = run_portico(folder, "migrate", "status", "--system", LIBRARY, variables=server_variables(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
class TestUpOnServers:
    @pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["together", "two processes each"])
    def test_serves_from_them_and_stops_them(self, options: list[str], tmp_path: Path, at: Addresses) -> None:
        with up(tmp_path, LIBRARY, at, "--servers", *options) as system:
            is_up(system)
            servers = [process_of(tmp_path, name) for name in SERVERS]

            assert fetch(at["gateway"] + "/books") == (200, [])
            assert "no database yet" not in migrated(tmp_path)
            assert system.stop() == 0

        assert not any(each.is_running() for each in servers)
        assert not list(tmp_path.rglob("*.db"))
        assert not (tmp_path / ".portico" / "servers" / "environment").exists()

    def test_prints_no_password(self, running: Running) -> None:
        printed = running.system.out + running.system.err
        for name in SERVERS:
            log = (running.folder / ".portico" / "servers" / name / "server.log").read_text()
            assert password_of(running.folder, name) not in printed + log
        for what in ("Data: postgresql://portico", "Caches and limits: redis://", "Events: amqp://portico"):
            assert f"{what}:***@127.0.0.1" in running.system.err

    def test_the_next_start_has_the_same_data_after_a_kill(self, tmp_path: Path, at: Addresses) -> None:
        with up(tmp_path, LIBRARY, at, "--servers") as system:
            is_up(system)
            first = server_variables(tmp_path)
            system.kill()

        with up(tmp_path, LIBRARY, at, "--servers") as system:
            is_up(system, times=2)

            assert server_variables(tmp_path) == first
            assert system.stop() == 0

    def test_a_killed_server_is_logged_and_restarted(self, running: Running) -> None:
        process_of(running.folder, "redis").kill()

        eventually(lambda: "server_restarted" in running.system.out, "Redis", LONG)
        lines = [json.loads(line) for line in running.system.out.splitlines()]
        died = next(line for line in lines if line["event"] == "server_exited")
        assert (died["server"], died["status"]) == ("Redis", -9)
        assert process_of(running.folder, "redis").is_running()
        assert fetch(running.at["gateway"] + "/books") == (200, [])

    def test_a_second_process_on_the_same_data_is_rejected(self, running: Running) -> None:
        refused = run_portico(running.folder, "up", LIBRARY, "--free-ports", "--servers")

        assert refused.returncode == 2
        assert f"Process {running.system.process.pid} already runs the servers in" in refused.stderr
        assert "DATA_DIR" in refused.stderr

    def test_a_public_address_needs_secrets(self, tmp_path: Path) -> None:
        variables = {"HOST": "0.0.0.0"}  # noqa: S104 it does not come to that

        with Command(tmp_path, "up", LIBRARY, "--free-ports", "--servers", variables=variables) as system:
            assert system.process.wait(LONG) == 2, system.err
            assert "SERVICE_SECRET is not set" in system.err


class TestPrivateServers:
    def test_a_missing_program_is_named_with_its_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(programs, "FOLDERS", ())
        monkeypatch.setenv("PATH", str(tmp_path))

        with pytest.raises(CommandError, match=r"no postgres on this machine; .*`apt-get install postgresql`"):
            _enter(Environment({"DATA_DIR": str(tmp_path)}))

    def test_a_configured_server_is_used(self, tmp_path: Path) -> None:
        named = {
            "DATABASE_URL": "postgresql://me:a-good-one@db/{service}",
            "NATS_URL": "nats://me:a-good-one@events:4222",
            "DATA_DIR": str(tmp_path),
        }

        with private_servers(Environment(named), library, 1) as environment:
            variables = environment.variables

        assert variables["DATABASE_URL"] == named["DATABASE_URL"]
        assert variables["REDIS_URL"].startswith("redis://")
        assert "RABBITMQ_URL" not in variables  # there is a broker
        assert "PRIVATE_SERVERS" not in variables  # that database is not ours: secrets have to be given

    def test_the_database_may_be_mariadb_with_one_for_each_service(self, tmp_path: Path) -> None:
        named = {
            "REDIS_URL": "redis://:a-good-one@cache:6379",
            "NATS_URL": "nats://me:a-good-one@events:4222",
            "DATA_DIR": str(tmp_path),
        }

        with private_servers(Environment(named), library, 1, "mariadb") as environment:
            address = environment.variables["DATABASE_URL"]

        assert address.startswith("mysql://portico:")
        assert address.endswith("/{service}_db")

    def test_a_folder_that_cannot_be_written_is_named(self) -> None:
        with pytest.raises(CommandError, match="/proc/nowhere/servers"):
            _enter(Environment({"DATA_DIR": "/proc/nowhere"}))


def _enter(environment: Environment) -> None:
    with private_servers(environment, library, 1):
        pytest.fail("it should have been refused")
