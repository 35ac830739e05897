"""The servers of `portico up --servers`: of this system alone, started from the programs on PATH, kept under DATA_DIR."""

import fcntl
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from portico.cli.errors import CommandError
from portico.kit.messaging.brokers.factory import names_broker
from portico.kit.runtime.system import System
from portico.kit.settings import Environment, Settings, mask_url, servers_in
from portico.servers import (
    HomeUnusable,
    KeptServers,
    PostgreSQLServer,
    ProgramMissing,
    RabbitMQServer,
    RedisServer,
    Server,
    ServerFailed,
)

FOLDER: Final = "servers"
ENVIRONMENT: Final = "environment"
DATABASE: Final = "portico"
_FEWEST_CONNECTIONS = 200
_FOR_OTHERS = 50  # connections for whoever looks in from outside


@contextmanager
def private_servers(environment: Environment, system: System, workers: int) -> Iterator[Environment]:
    """`environment` with the addresses of servers that run while the block does.

    A server that it names already is used as it is. One of ours that dies is started again.

    Args:
        environment: what settings are read from.
        system: what is to use them.
        workers: processes for each part of it.

    Raises:
        CommandError: a program is not installed, a server does not start, or another process runs the same ones.
    """
    settings = environment.read(Settings)
    folder = (settings.data_dir / FOLDER).absolute()
    with ExitStack() as stack:
        stack.enter_context(_alone_in(folder))
        try:
            servers = _wanted(folder, settings, connections=_connections(system, settings, workers))
            if servers:
                _tell(f"Starting {_listed([each.name for each in servers.values()])} of its own in {folder} …")
            stack.enter_context(KeptServers(list(servers.values())))
        except ProgramMissing as missing:
            raise CommandError(f"--servers starts what is installed, and there is {missing}.") from missing
        except (HomeUnusable, ServerFailed) as error:
            raise CommandError(mask_url(str(error))) from error
        variables = {variable: server.url() for variable, server in servers.items()}
        if not servers_in(settings):
            variables["PRIVATE_SERVERS"] = "true"
        file = stack.enter_context(_written(folder / ENVIRONMENT, variables))
        _tell(f"Other commands reach them after: set -a; . {shlex.quote(str(file))}; set +a")
        yield Environment({**environment.variables, **variables}, environment.dotenv_file)


def _wanted(folder: Path, settings: Settings, *, connections: int) -> dict[str, Server]:
    """The servers that the environment does not name, by the variable that is to name them."""
    servers: dict[str, Server] = {}
    if settings.database_url is None:
        servers["DATABASE_URL"] = PostgreSQLServer(
            durable=True, kept_in=folder, database=DATABASE, connections=connections
        )
    if settings.redis_url is None:
        servers["REDIS_URL"] = RedisServer(durable=True, kept_in=folder)
    if not names_broker(settings):
        servers["RABBITMQ_URL"] = RabbitMQServer(durable=True, kept_in=folder)
    return servers


def _connections(system: System, settings: Settings, workers: int) -> int:
    """Two pools for each service in each process, and a few more."""
    pools = 2 * settings.database_pool_size * len(system.placements) * workers
    return max(_FEWEST_CONNECTIONS, pools + _FOR_OTHERS)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with this process however that goes. Raises CommandError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"The servers' data can't be kept in {folder} ({error.strerror}).",
            "Make the folder writable, or set DATA_DIR to one that is.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise CommandError(
                f"The servers in {folder} are run by process {lock.read().strip()} already.",
                "Stop it, or set DATA_DIR to another folder.",
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _written(path: Path, variables: Mapping[str, str]) -> Iterator[Path]:
    """A file of `variables` for shells and for its owner's eyes only, gone at the end."""
    lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    path.unlink(missing_ok=True)  # of a process that was killed
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(lines)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _tell(line: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False).print(line, style="dim", soft_wrap=True, markup=False)
