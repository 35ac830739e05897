import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from portico.servers import (
    KafkaServer,
    MariaDBServer,
    NatsServer,
    NginxServer,
    PostgreSQLServer,
    ProgramMissing,
    RabbitMQServer,
    RedisServer,
    Server,
    ServerFailed,
)
from portico.servers.programs import find_program
from portico.testing.commands import fetch

Start = Callable[..., Any]

SQL_SERVERS = [PostgreSQLServer, MariaDBServer]
SLOW_SERVERS = [pytest.param(each, marks=pytest.mark.slow) for each in (RabbitMQServer, KafkaServer)]
ALL_SERVERS = [*SQL_SERVERS, RedisServer, NatsServer, *SLOW_SERVERS]

START_AND_PRINT = """
import sys
from portico import servers
server = getattr(servers, sys.argv[1])().start()
print(server.pid, server.folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=ALL_SERVERS, ids=lambda kind: kind.key)
def server(request: pytest.FixtureRequest, start_server: Start) -> Server:
    started: Server = start_server(request.param)
    return started


@pytest.fixture(params=ALL_SERVERS, ids=lambda kind: kind.key)
def shared_server(request: pytest.FixtureRequest) -> Server:
    """The server that the run's tests share, for tests that leave it as it is."""
    shared: Server = request.getfixturevalue(f"{request.param.key}_server")
    return shared


@pytest.fixture(params=SQL_SERVERS, ids=lambda kind: kind.key)
def sql_server(request: pytest.FixtureRequest, start_server: Start) -> PostgreSQLServer | MariaDBServer:
    started: PostgreSQLServer | MariaDBServer = start_server(request.param)
    return started


@pytest.fixture(params=SQL_SERVERS, ids=lambda kind: kind.key)
def shared_sql_server(request: pytest.FixtureRequest) -> PostgreSQLServer | MariaDBServer:
    shared: PostgreSQLServer | MariaDBServer = request.getfixturevalue(f"{request.param.key}_server")
    return shared


class TestAServer:
    def test_is_ready_once_it_is_started(self, shared_server: Server) -> None:
        assert shared_server.is_ready()

    def test_rejects_another_password(self, shared_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shared_server, "password", "guessed")

        assert not shared_server.is_ready()

    @pytest.mark.skipif(os.geteuid() != 0, reason="the account changes only where root runs the tests")
    def test_does_not_run_as_root(self, shared_server: Server) -> None:
        assert psutil.Process(shared_server.pid).uids().effective != 0

    def test_leaves_no_process_and_no_file_after_a_stop(self, server: Server) -> None:
        process = psutil.Process(server.pid)

        server.stop()

        assert not process.is_running()
        assert not server.folder.exists()

    def test_restarts_on_its_port_after_a_kill(self, server: Server) -> None:
        port, first = server.port, server.pid

        server.kill()
        killed = server.is_ready()
        server.restart()

        assert not killed
        assert server.is_ready()
        assert (server.port, server.pid == first) == (port, False)

    def test_stops_while_paused(self, server: Server) -> None:
        process = psutil.Process(server.pid)
        server.pause()

        server.stop()

        assert not process.is_running()


class TestASqlServer:
    def test_creates_and_drops_databases(self, shared_sql_server: PostgreSQLServer | MariaDBServer) -> None:
        url = shared_sql_server.create_database("loans_main")
        shared_sql_server.create_database("loan")
        shared_sql_server.execute("CREATE TABLE books (title VARCHAR(20))", "loans_main")

        shared_sql_server.drop_databases("loans_")

        assert url.endswith(f":{shared_sql_server.port}/loans_main")
        with pytest.raises(ServerFailed, match="loans_main"):
            shared_sql_server.execute("SELECT 1", "loans_main")
        assert shared_sql_server.execute("SELECT 1", "loan").strip() == "1"
        shared_sql_server.drop_databases("loan")

    def test_keeps_commits_after_a_kill(self, sql_server: PostgreSQLServer | MariaDBServer) -> None:
        sql_server.create_database("loans")
        sql_server.execute("CREATE TABLE books (title VARCHAR(20))", "loans")
        sql_server.execute("INSERT INTO books VALUES ('Bröderna')", "loans")

        sql_server.kill()
        sql_server.restart()

        assert sql_server.execute("SELECT title FROM books", "loans").strip() == "Bröderna"


class TestRedis:
    def test_keeps_its_data_after_a_kill_if_durable(self, start_server: Start) -> None:
        server = start_server(RedisServer, durable=True)
        with server.client() as client:
            client.set("book", "lent")

        server.kill()
        server.restart()

        with server.client() as client:
            assert client.get("book") == b"lent"

    def test_answers_nothing_while_paused(self, start_server: Start) -> None:
        server = start_server(RedisServer)
        server.pause()

        with redis.Redis.from_url(server.url(), socket_timeout=0.1, retry=None) as client:
            with pytest.raises(redis.TimeoutError):
                client.ping()
            server.resume()

        assert server.is_ready()


class TestNginx:
    def test_serves_a_site_on_its_port(self, start_server: Start) -> None:
        server = start_server(NginxServer)
        port = server.port

        server.serve(f"server {{ listen 127.0.0.1:{port}; return 200 '\"hello\"'; }}")

        assert server.port == port
        assert fetch(server.url()) == (200, "hello")

    def test_reports_an_invalid_site(self, start_server: Start) -> None:
        server = start_server(NginxServer)

        with pytest.raises(ServerFailed, match="unknown directive"):
            server.check("servre { }")

        assert server.is_ready()


class Broken(RedisServer):
    def configure(self) -> None:
        super().configure()
        with (self.folder / "redis.conf").open("a") as settings:
            settings.write("no-such-setting yes\n")


class TestAServerThatDoesNotStart:
    def test_is_an_error_with_the_end_of_its_log(self) -> None:
        server = Broken()

        with pytest.raises(ServerFailed, match=r"(?s)Redis exited during its start.*no-such-setting"):
            server.start()

        assert not server.folder.exists()


class TestTheEndOfARun:
    @pytest.mark.parametrize(
        ("kind", "number"),
        [
            (RedisServer, signal.SIGKILL),
            (RedisServer, signal.SIGTERM),
            (RedisServer, signal.SIGINT),
            pytest.param(RabbitMQServer, signal.SIGKILL, marks=pytest.mark.slow),
        ],
    )
    def test_leaves_no_server(self, kind: type[Server], number: signal.Signals, request: pytest.FixtureRequest) -> None:
        request.getfixturevalue(f"{kind.key}_server")  # the test is left out where the program is missing
        run = subprocess.Popen(
            [sys.executable, "-c", START_AND_PRINT, kind.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert run.stdout is not None
        pid, folder = run.stdout.readline().split()
        server = psutil.Process(int(pid))
        processes = [server, *server.children(recursive=True)]

        run.send_signal(number)
        run.communicate()

        _, alive = psutil.wait_procs(processes, timeout=10)
        _wait_until_gone(Path(folder))
        assert alive == []


def _wait_until_gone(folder: Path) -> None:
    """Wait for the guard to exit, after it has deleted the folder."""
    guards = [process for process in psutil.process_iter(["cmdline"]) if str(folder) in (process.info["cmdline"] or [])]
    psutil.wait_procs(guards, timeout=10)
    assert not folder.exists()


class TestFindProgram:
    def test_prefers_the_same_folder(self, tmp_path: Path) -> None:
        for name in ("initdb", "postgres"):
            (tmp_path / name).touch(mode=0o755)

        assert find_program("initdb", beside=tmp_path / "postgres") == tmp_path / "initdb"

    def test_names_a_missing_program_and_how_to_install_it(self) -> None:
        with pytest.raises(ProgramMissing, match="no no-such-server on this machine; `make servers`"):
            find_program("no-such-server")

    def test_names_the_package_of_what_is_missing(self, tmp_path: Path) -> None:
        message = str(ProgramMissing(["redis-server", "valkey-server"]))

        assert "no redis-server or valkey-server" in message
        assert "`apt-get install redis-server`" in message
        assert "`brew install redis`" in message


class TestPreviousProcess:
    def test_may_end_while_it_is_looked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server = RedisServer()
        monkeypatch.setattr("portico.servers.server.is_same_process", lambda *_: True)
        monkeypatch.setattr("portico.servers.server.tree", lambda _: [])

        with server:
            assert server.is_ready()
