"""Fixtures of every test that needs a server: `pytest_plugins = ["portico.testing.fixtures"]`.

The servers are started once a run, when the first test asks. One whose program is not installed skips its tests, and
the run says at its end what it left out. `REQUIRE_SERVERS=all`, or a list such as `postgresql,redis`, makes that an
error instead. Kafka, of which no system has a package, has to be named: `all,kafka`.
"""

import importlib.util
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog

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
)
from portico.testing.databases import Databases, ServerDatabases, SQLiteDatabases

pytest.register_assert_rewrite("tests.contracts")

PACKAGED: tuple[type[Server], ...] = (
    PostgreSQLServer,
    MariaDBServer,
    RedisServer,
    RabbitMQServer,
    NatsServer,
    NginxServer,
)
SERVERS: tuple[type[Server], ...] = (*PACKAGED, KafkaServer)
DIALECTS = ("sqlite", "postgresql", "mariadb")

S = TypeVar("S", bound=Server)
_numbers = itertools.count(1)


def pytest_configure() -> None:
    unknown = _required() - {"all"} - {kind.key for kind in SERVERS}
    if unknown:
        known = ", ".join(kind.key for kind in SERVERS)
        raise pytest.UsageError(f"REQUIRE_SERVERS names {', '.join(sorted(unknown))}; known are all, {known}")
    _log_plainly()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what the run left out and why: a skipped test must not pass for a passed one."""
    skipped = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.section("left out")
        for reason, count in sorted(skipped.items()):
            terminalreporter.line(f"{count} test{'s' * (count != 1)}: {reason}")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Async tests run as the product does: asyncio, on uvloop where that is installed."""
    return "asyncio", {"use_uvloop": importlib.util.find_spec("uvloop") is not None}


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    yield from _serving(PostgreSQLServer)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    yield from _serving(MariaDBServer)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    yield from _serving(RedisServer)


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQServer]:
    yield from _serving(RabbitMQServer)


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    yield from _serving(NatsServer)


@pytest.fixture(scope="session")
def nginx_server() -> Iterator[NginxServer]:
    yield from _serving(NginxServer)


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaServer]:
    yield from _serving(KafkaServer)


@pytest.fixture
def start_server() -> Iterator[Callable[..., Any]]:
    """Start a server for one test alone, which may pause or kill it: `start_server(PostgreSQLServer, durable=True)`."""
    started: list[Server] = []

    def start(kind: type[S], *, durable: bool = False) -> S:
        server = _made(kind, durable=durable)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def sqlite_databases(tmp_path: Path) -> Databases:
    return SQLiteDatabases(tmp_path / "databases")


@pytest.fixture
def postgresql_databases(postgresql_server: PostgreSQLServer) -> Iterator[Databases]:
    yield from _databases_of(postgresql_server)


@pytest.fixture
def mariadb_databases(mariadb_server: MariaDBServer) -> Iterator[Databases]:
    yield from _databases_of(mariadb_server)


@pytest.fixture(params=DIALECTS)
def databases(request: pytest.FixtureRequest) -> Databases:
    """Empty databases for one test: the test runs once on each of SQLite, PostgreSQL and MariaDB."""
    found: Databases = request.getfixturevalue(f"{request.param}_databases")
    return found


@pytest.fixture(params=["postgresql", "mariadb"])
def server_databases(request: pytest.FixtureRequest) -> Databases:
    """As `databases`, for what only a real server shows: write skew, deadlock, collation, a lost connection."""
    found: Databases = request.getfixturevalue(f"{request.param}_databases")
    return found


@pytest.fixture
def database_url(databases: Databases) -> str:
    """The address of one empty database, on each of SQLite, PostgreSQL and MariaDB in turn."""
    return databases.fresh()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of an empty Redis."""
    redis_server.flush()
    return redis_server.url()


def _log_plainly() -> None:
    """Write errors with plain tracebacks: structlog's own, with every variable, hold the event loop for a second."""
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


def _serving(kind: type[S]) -> Iterator[S]:
    with _made(kind) as server:
        yield server


def _made(kind: type[S], *, durable: bool = False) -> S:
    try:
        return kind(durable=durable)
    except ProgramMissing as missing:
        if kind.key in _required() or ("all" in _required() and kind in PACKAGED):
            pytest.fail(f"{kind.name} is required by REQUIRE_SERVERS: {missing}", pytrace=False)
        pytest.skip(f"{kind.name}: {missing}")


def _databases_of(server: PostgreSQLServer | MariaDBServer) -> Iterator[Databases]:
    databases = ServerDatabases(server, prefix=f"t{next(_numbers)}_")
    yield databases
    databases.drop()


def _required() -> set[str]:
    words = os.environ.get("REQUIRE_SERVERS", "").lower().split(",")
    return {word.strip() for word in words if word.strip()}


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
