"""Pytest fixtures for tests that need servers: `pytest_plugins = ["portico.testing.fixtures"]`.

A server is started once per run, when the first test requests it. If its program or its driver is not installed, its
tests are skipped, and the end of the run lists them. `REQUIRE_SERVERS=all`, or a list such as `postgresql,redis`,
makes that an error. Kafka, which distributions do not package, must be named: `all,kafka`.
"""

import importlib.util
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

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
from portico.testing.server_connection import close_connection

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
DRIVERS: dict[type[Server], tuple[str, str]] = {
    MariaDBServer: ("asyncmy", "mysql"),
    RabbitMQServer: ("aiormq", "rabbitmq"),
    NatsServer: ("nats", "nats"),
    KafkaServer: ("aiokafka", "kafka"),
}
"""The module of a server's driver that `portico[testing]` does not install, and the extra that does."""
DIALECTS = ("sqlite", "postgresql", "mariadb")

S = TypeVar("S", bound=Server)
_numbers = itertools.count(1)


def pytest_configure() -> None:
    unknown = _required() - {"all"} - {kind.key for kind in SERVERS}
    if unknown:
        known = ", ".join(kind.key for kind in SERVERS)
        raise pytest.UsageError(f"REQUIRE_SERVERS names {', '.join(sorted(unknown))}; known are all, {known}")
    _configure_plain_tracebacks()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the skipped tests with their reasons, so that they are not mistaken for passed ones."""
    skipped = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.section("left out")
        for reason, count in sorted(skipped.items()):
            terminalreporter.line(f"{count} test{'s' * (count != 1)}: {reason}")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run async tests as Portico runs: on asyncio, with uvloop if it is installed."""
    return "asyncio", {"use_uvloop": importlib.util.find_spec("uvloop") is not None}


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    yield from _start(PostgreSQLServer)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    yield from _start(MariaDBServer)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    yield from _start(RedisServer)


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQServer]:
    yield from _start(RabbitMQServer)


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    yield from _start(NatsServer)


@pytest.fixture(scope="session")
def nginx_server() -> Iterator[NginxServer]:
    yield from _start(NginxServer)


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaServer]:
    yield from _start(KafkaServer)


@pytest.fixture
def start_server() -> Iterator[Callable[..., Any]]:
    """Start a server for one test, which may pause or kill it: `start_server(PostgreSQLServer, durable=True)`."""
    started: list[Server] = []

    def start(kind: type[S], *, durable: bool = False) -> S:
        server = _create(kind, durable=durable)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        close_connection(server)
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
    """Return empty databases for one test, which runs on each of SQLite, PostgreSQL and MariaDB."""
    found: Databases = request.getfixturevalue(f"{request.param}_databases")
    return found


@pytest.fixture(params=["postgresql", "mariadb"])
def server_databases(request: pytest.FixtureRequest) -> Databases:
    """Return empty databases on each real server, for write skew, deadlocks, collations and lost connections."""
    found: Databases = request.getfixturevalue(f"{request.param}_databases")
    return found


@pytest.fixture
def database_url(databases: Databases) -> str:
    """Return the address of an empty database, on each of SQLite, PostgreSQL and MariaDB."""
    return databases.fresh()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Return the address of an empty Redis."""
    redis_server.flush()
    return redis_server.url()


def _configure_plain_tracebacks() -> None:
    """Log errors with plain tracebacks: structlog's default lists every variable, which blocks the event loop for a second."""
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


def _start(kind: type[S]) -> Iterator[S]:
    with _create(kind) as server:
        yield server
        close_connection(server)


def _create(kind: type[S], *, durable: bool = False) -> S:
    """Return a server that is not started. Skips or fails the test if its program or its driver is missing."""
    module, extra = DRIVERS.get(kind, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        _leave_out(kind, f"its driver {module} is not installed; `pip install 'portico[{extra}]'` installs it")
    try:
        return kind(durable=durable)
    except ProgramMissing as missing:
        _leave_out(kind, str(missing))


def _leave_out(kind: type[Server], reason: str) -> NoReturn:
    if kind.key in _required() or ("all" in _required() and kind in PACKAGED):
        pytest.fail(f"{kind.name} is required by REQUIRE_SERVERS: {reason}", pytrace=False)
    pytest.skip(f"{kind.name}: {reason}")


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
