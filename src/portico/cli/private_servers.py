"""The private servers of `portico up --servers`: started from installed programs, with data under DATA_DIR."""

import fcntl
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Literal

from portico.cli.errors import print_progress
from portico.kit.foundation.errors import CommandError
from portico.kit.messaging.brokers.factory import names_broker
from portico.kit.runtime.system import System
from portico.kit.settings import Environment, Settings, mask_url, servers_in
from portico.servers import (
    DataDirUnusable,
    MariaDBServer,
    PostgreSQLServer,
    ProgramMissing,
    RabbitMQServer,
    RedisServer,
    Server,
    ServerFailed,
    SupervisedServers,
)

FOLDER: Final = "servers"
ENVIRONMENT: Final = "environment"
DATABASE: Final = "portico"
DATABASES: Final = "{service}_db"
Database = Literal["postgresql", "mariadb"]
_MIN_CONNECTIONS = 200
_EXTRA_CONNECTIONS = 50  # for other commands


@contextmanager
def private_servers(
    environment: Environment, system: System, workers: int, database: Database = "postgresql"
) -> Iterator[Environment]:
    """Start servers for the duration of the block; the value is `environment` with their addresses.

    A server that `environment` names is not started. A started server that exits is restarted.

    Args:
        environment: the settings.
        system: the system that uses the servers.
        workers: processes for each part of it.
        database: the kind of database server.

    Raises:
        CommandError: a program is not installed, a server does not start, or another process runs these servers.
    """
    settings = environment.read(Settings)
    folder = (settings.data_dir / FOLDER).absolute()
    with ExitStack() as stack:
        stack.enter_context(_lock(folder))
        try:
            servers = _missing_servers(folder, settings, database, _connections(system, settings, workers))
            if servers:
                print_progress(f"Starting private {_join([each.name for each in servers.values()])} in {folder} …")
            stack.enter_context(SupervisedServers(list(servers.values())))
        except ProgramMissing as missing:
            raise CommandError(f"--servers needs a program that is not installed: {missing}.") from missing
        except (DataDirUnusable, ServerFailed) as error:
            raise CommandError(mask_url(str(error))) from error
        variables = {variable: server.url() for variable, server in servers.items()}
        if not servers_in(settings):
            variables["PRIVATE_SERVERS"] = "true"
        file = stack.enter_context(_environment_file(folder / ENVIRONMENT, variables))
        print_progress(f"Other commands use them after: set -a; . {shlex.quote(str(file))}; set +a")
        yield Environment({**environment.variables, **variables}, environment.dotenv_file)


def _missing_servers(folder: Path, settings: Settings, database: Database, connections: int) -> dict[str, Server]:
    """Return the servers that the settings do not name, by their variables."""
    servers: dict[str, Server] = {}
    if settings.database_url is None:
        servers["DATABASE_URL"] = (
            PostgreSQLServer(durable=True, data_dir=folder, database=DATABASE, connections=connections)
            if database == "postgresql"
            else MariaDBServer(durable=True, data_dir=folder, database=DATABASES, connections=connections)
        )
    if settings.redis_url is None:
        servers["REDIS_URL"] = RedisServer(durable=True, data_dir=folder)
    if not names_broker(settings):
        servers["RABBITMQ_URL"] = RabbitMQServer(durable=True, data_dir=folder)
    return servers


def _connections(system: System, settings: Settings, workers: int) -> int:
    """Return the number of connections to allow: two pools for each service in each process, and some more."""
    pools = 2 * settings.database_pool_size * len(system.placements) * workers
    return max(_MIN_CONNECTIONS, pools + _EXTRA_CONNECTIONS)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, which the system releases when this process exits. Raises CommandError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"The servers' data cannot be stored in {folder} ({error.strerror}).",
            "Make the folder writable, or set DATA_DIR to one that is.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise CommandError(
                f"Process {lock.read().strip()} already runs the servers in {folder}.",
                "Stop it, or set DATA_DIR to another folder.",
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _environment_file(path: Path, variables: Mapping[str, str]) -> Iterator[Path]:
    """Write `variables` to a file for shells that only its owner may read; delete it at the end."""
    lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    path.unlink(missing_ok=True)  # left by a process that was killed
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(lines)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _join(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
