import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from portico.kit.telemetry.logs import get_logger
from portico.servers import RedisServer
from portico.testing.databases import Databases

POSTGRESQL_TEST = "def test_it(postgresql_server): ..."
MARIADB_TEST = """
import sys
sys.modules["asyncmy"] = None
def test_it(mariadb_server): ...
"""
NO_PROGRAMS = {"PATH": "", "PYTHONPATH": os.pathsep.join(sys.path)}


class TestDatabases:
    def test_are_empty_and_separate(self, server_databases: Databases) -> None:
        first, second = server_databases.fresh("first"), server_databases.fresh("second")

        assert first != second
        assert first.rpartition("/")[2].endswith("_first")

    def test_have_an_address_template_for_services(self, databases: Databases) -> None:
        assert "{service}" in databases.per_service()

    async def test_accept_a_client(self, postgresql_databases: Databases) -> None:
        connection = await asyncpg.connect(postgresql_databases.fresh())
        try:
            assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        finally:
            await connection.close()


class TestRedisUrl:
    def test_is_the_address_of_an_empty_redis(self, redis_server: RedisServer, request: pytest.FixtureRequest) -> None:
        with redis_server.client() as client:
            client.set("left", "over")

        url = request.getfixturevalue("redis_url")

        assert url == redis_server.url()
        with redis_server.client() as client:
            assert client.dbsize() == 0


class TestAsyncTests:
    async def test_run_on_asyncio(self) -> None:
        assert asyncio.get_running_loop().is_running()


class TestLogs:
    def test_errors_are_logged_without_the_values_of_variables(self, capsys: pytest.CaptureFixture[str]) -> None:
        kept = "a value"
        try:
            raise LookupError("gone")  # noqa: TRY301  what is logged has been raised
        except LookupError:
            get_logger("test").exception("failed")

        written = capsys.readouterr().out
        assert "LookupError: gone" in written
        assert f"{kept!r}" not in written


class TestAMissingServer:
    def test_skips_its_tests_and_is_listed_at_the_end(self, tmp_path: Path) -> None:
        lines = _run(tmp_path, POSTGRESQL_TEST)

        assert any("1 test: PostgreSQL: no postgres on this machine; `make servers`" in line for line in lines)
        assert lines[-1].strip("= ").startswith("1 skipped")

    def test_fails_if_it_is_required(self, tmp_path: Path) -> None:
        lines = _run(tmp_path, POSTGRESQL_TEST, REQUIRE_SERVERS="redis,postgresql")

        assert any("PostgreSQL is required by REQUIRE_SERVERS" in line for line in lines)
        assert lines[-1].strip("= ").startswith("1 error")

    def test_skips_its_tests_if_its_driver_is_missing(self, tmp_path: Path) -> None:
        lines = _run(tmp_path, MARIADB_TEST)

        assert any("1 test: MariaDB: its driver asyncmy is not installed; `pip install" in line for line in lines)
        assert lines[-1].strip("= ").startswith("1 skipped")

    def test_must_have_a_known_name(self, tmp_path: Path) -> None:
        lines = _run(tmp_path, POSTGRESQL_TEST, REQUIRE_SERVERS="postgres")

        assert (
            "ERROR: REQUIRE_SERVERS names postgres; known are all, postgresql, mariadb, redis, rabbitmq, nats, nginx, kafka"
            in lines
        )


def _run(folder: Path, test: str, **environ: str) -> list[str]:
    """Run a test in another pytest process, which finds no server programs; return the lines that it printed."""
    (folder / "conftest.py").write_text(
        'from portico.servers import programs\nprograms.FOLDERS = ()\npytest_plugins = ["portico.testing.fixtures"]\n'
    )
    (folder / "test_it.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"--rootdir={folder}", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env={**NO_PROGRAMS, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout + done.stderr).strip().splitlines()
