"""Servers with a persistent data directory, across restarts and kills."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from portico.servers import DataDirUnusable, PostgreSQLServer, RabbitMQServer, RedisServer

START_AND_PRINT = """
import sys
from pathlib import Path
from portico import servers
server = getattr(servers, sys.argv[2])(durable=True, data_dir=Path(sys.argv[1])).start()
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def _installed(postgresql_server: PostgreSQLServer, redis_server: RedisServer) -> None:
    """Skip the tests, or fail, if the servers are not installed."""


@contextmanager
def postgresql(folder: Path) -> Iterator[PostgreSQLServer]:
    with PostgreSQLServer(durable=True, data_dir=folder) as server:
        yield server


def write(server: PostgreSQLServer) -> None:
    server.execute("CREATE TABLE books (title text)")
    server.execute("INSERT INTO books VALUES ('Middlemarch')")


def read(server: PostgreSQLServer) -> str:
    return server.execute("SELECT title FROM books").strip()


def remembered(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "postgresql.json").read_text())
    return found


class TestPersistentDataDir:
    def test_the_next_start_finds_data_password_and_port(self, tmp_path: Path) -> None:
        with postgresql(tmp_path) as first:
            write(first)
        with postgresql(tmp_path) as second:
            assert read(second) == "Middlemarch"
            assert second.url() == first.url()

    def test_redis_keeps_its_data(self, tmp_path: Path) -> None:
        with RedisServer(durable=True, data_dir=tmp_path) as first, first.client() as client:
            client.set("book", "lent")
        with RedisServer(durable=True, data_dir=tmp_path) as second, second.client() as client:
            assert client.get("book") == b"lent"

    def test_only_the_owner_may_read_the_password(self, tmp_path: Path) -> None:
        with postgresql(tmp_path) as server:
            holders = [path for path in tmp_path.glob("*") if path.is_file()]

            assert [path.name for path in holders] == ["postgresql.json"]
            assert stat.S_IMODE(holders[0].stat().st_mode) == 0o600
            assert stat.S_IMODE((tmp_path / "postgresql").stat().st_mode) == 0o700
            assert server.password not in server.log.read_text()
            assert server.password not in " ".join(psutil.Process(server.pid).cmdline())

    def test_a_port_that_is_taken_is_replaced(self, tmp_path: Path) -> None:
        with postgresql(tmp_path / "one") as first:
            pass
        with postgresql(tmp_path / "two") as other:
            state = tmp_path / "one" / "postgresql.json"
            state.write_text(json.dumps({**json.loads(state.read_text()), "port": other.port}))
            with postgresql(tmp_path / "one") as again:
                assert again.port != other.port
        assert first.password == again.password

    def test_an_interrupted_start_is_repeated(self, tmp_path: Path) -> None:
        with postgresql(tmp_path):
            pass
        state = tmp_path / "postgresql.json"
        state.write_text(json.dumps({**json.loads(state.read_text()), "is_prepared": False}))

        with postgresql(tmp_path) as server:
            assert server.is_ready()

    def test_data_without_its_password_is_not_changed(self, tmp_path: Path) -> None:
        with postgresql(tmp_path) as server:
            write(server)
        state = (tmp_path / "postgresql.json").rename(tmp_path / "copy")

        with pytest.raises(DataDirUnusable, match="Restore that file, or move the folder away"):
            PostgreSQLServer(durable=True, data_dir=tmp_path)

        state.rename(tmp_path / "postgresql.json")
        with postgresql(tmp_path) as server:
            assert read(server) == "Middlemarch"

    def test_a_damaged_state_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "redis.json").write_text("{")

        with pytest.raises(DataDirUnusable, match=r"redis\.json is damaged"):
            RedisServer(data_dir=tmp_path)

    def test_a_folder_that_cannot_be_created_is_named(self) -> None:
        with pytest.raises(DataDirUnusable, match="/proc/nowhere"):
            RedisServer(data_dir=Path("/proc/nowhere"))


@contextmanager
def run_of_its_own(
    folder: Path, kind: str = "PostgreSQLServer"
) -> Iterator[tuple["subprocess.Popen[str]", psutil.Process]]:
    run = subprocess.Popen(
        [sys.executable, "-c", START_AND_PRINT, str(folder), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout is not None
    try:
        yield run, psutil.Process(int(run.stdout.readline()))
    finally:
        run.kill()
        run.communicate()


class TestAfterAKill:
    def test_the_server_is_shut_down(self, tmp_path: Path) -> None:
        with run_of_its_own(tmp_path) as (run, server):
            run.kill()
            run.wait()

            server.wait(timeout=20)

        assert "database system is shut down" in (tmp_path / "postgresql" / "server.log").read_text()

    def test_a_server_that_still_runs_is_stopped_and_its_data_is_used(self, tmp_path: Path) -> None:
        with run_of_its_own(tmp_path) as (run, server):
            for guard in psutil.Process(run.pid).children():
                if guard.pid != server.pid:
                    guard.kill()
            run.kill()
            run.wait()
            assert server.is_running()

            with postgresql(tmp_path) as again:
                assert not server.is_running()
                assert again.is_ready()

    def test_another_process_with_the_old_id_is_not_killed(self, tmp_path: Path) -> None:
        with postgresql(tmp_path) as server:
            write(server)
            server.kill()
        state = tmp_path / "postgresql.json"
        state.write_text(json.dumps({**json.loads(state.read_text()), "pid": os.getpid(), "started_at": 1.0}))
        lock = tmp_path / "postgresql" / "data" / "postmaster.pid"
        lines = lock.read_text().splitlines() if lock.exists() else [""] * 8
        lock.write_text("\n".join([str(os.getpid()), *lines[1:]]))

        with postgresql(tmp_path) as again:  # and this process still runs
            assert read(again) == "Middlemarch"

    def test_wait_for_exit_returns_the_status(self, tmp_path: Path) -> None:
        with postgresql(tmp_path) as server:
            assert server.wait_for_exit(0) is None
            psutil.Process(server.pid).send_signal(signal.SIGKILL)

            assert server.wait_for_exit(20) == -signal.SIGKILL
            server.restart()
            assert server.is_ready()


@pytest.mark.slow
class TestAServerOfSeveralProcesses:
    def test_its_remaining_processes_end_before_the_next_start(
        self, tmp_path: Path, rabbitmq_server: RabbitMQServer
    ) -> None:
        with RabbitMQServer(durable=True, data_dir=tmp_path) as server:
            first = psutil.Process(server.pid)
            others = first.children(recursive=True)
            first.kill()
            assert server.wait_for_exit(20) == -signal.SIGKILL
            assert any(each.is_running() for each in others)

            server.restart()

            assert not any(each.is_running() for each in others)
            assert server.is_ready()

    def test_it_ends_with_all_of_its_supervisors(self, tmp_path: Path, rabbitmq_server: RabbitMQServer) -> None:
        with run_of_its_own(tmp_path, "RabbitMQServer") as (run, server):
            others = server.children(recursive=True)
            for each in (*psutil.Process(run.pid).children(), psutil.Process(run.pid)):
                each.kill()  # the server's first process and the guard among them
            run.wait()
            assert any(each.is_running() for each in others)

            with RabbitMQServer(durable=True, data_dir=tmp_path) as again:
                assert not any(each.is_running() for each in others)
                assert again.is_ready()


class TestLogRotation:
    def test_a_long_log_is_moved_to_a_second_file(self, tmp_path: Path, redis_server: RedisServer) -> None:
        with RedisServer(data_dir=tmp_path) as server:
            with server.log.open("ab") as log:
                log.truncate(17 << 20)

            server.rotate_log()
            server.rotate_log()

            assert server.log.stat().st_size == 0
            assert (server.folder / "server.log.1").stat().st_size == 17 << 20
