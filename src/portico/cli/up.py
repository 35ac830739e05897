"""`portico up`: a whole system, in one process or in several processes for each part."""

import asyncio
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from portico.cli.errors import print_progress, print_warning
from portico.cli.migrate import report_unmigrated
from portico.kit.foundation.errors import CommandError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from portico.cli.banner import NewAdministrator
    from portico.kit.runtime.fork_server import ForkServer
    from portico.kit.runtime.supervisor import SupervisedProcess
    from portico.kit.runtime.system import System
    from portico.kit.settings import Environment, Settings
    from portico.systems.composition import Composition

app = typer.Typer()

_MAX_PORT = 65_535


SystemName = Annotated[
    str | None,
    typer.Argument(
        help="A shipped system, or an import path (shop.systems:shop). Default: this project's, or commerce."
    ),
]
Port = Annotated[list[str] | None, typer.Option(help="A service's port: identity=9001. May be repeated.")]
FreePorts = Annotated[bool, typer.Option("--free-ports", help="Use any free port for each part.")]
Split = Annotated[
    bool, typer.Option("--split", help="Run each part in its own process, which is restarted when it exits.")
]
Workers = Annotated[int, typer.Option(help="Processes for each part; implies --split.", min=1, max=64, metavar="N")]
OwnServers = Annotated[
    bool,
    typer.Option("--servers", help="Start private database, Redis and RabbitMQ servers from installed programs."),
]
OwnDatabase = Annotated[Literal["postgresql", "mariadb"], typer.Option(help="The database server of --servers.")]
Reload = Annotated[
    bool, typer.Option("--reload", help="Restart what changed when a source file changes, for development.")
]


@app.command()
def up(
    system: SystemName = None,
    *,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    gateway_port: Annotated[int | None, typer.Option(help="The gateway's port.", min=1, max=_MAX_PORT)] = None,
    port: Port = None,
    free_ports: FreePorts = False,
    split: Split = False,
    workers: Workers = 1,
    servers: OwnServers = False,
    database: OwnDatabase = "postgresql",
    reload: Reload = False,
) -> None:
    """Run a system: its gateway and its services, each on its own port.

    If no server is configured, everything is embedded, in files under DATA_DIR. Ctrl-C stops the system.
    """
    print_progress("Loading the system …")
    from contextlib import nullcontext

    from portico.cli.environment import environment_with, find_chosen_system, system_name
    from portico.cli.worker import start_fork_server
    from portico.kit.runtime.serving import bind_all
    from portico.kit.settings import Settings

    check_database_is_used(database, servers=servers)
    environment = environment_with(host)
    settings = environment.read(Settings)
    if reload:
        choose = partial(_choose_ports, wanted=port or (), gateway=gateway_port, free=free_ports)
        check_can_reload(workers=workers, servers=servers)
        raise typer.Exit(run_reloading(system_name(system, settings), environment, choose, split=split))
    found = find_chosen_system(system, settings)
    is_split = split or workers > 1
    if is_split and not servers:
        check_can_split(found, settings, workers)
    with start_fork_server() if is_split and hasattr(os, "fork") else nullcontext() as fork_server:
        if not servers and settings.database_url is None:
            _warn_about_data(found, settings)
        sockets = bind_all(settings.host, _choose_ports(found, port or (), gateway_port, free=free_ports))
        with _start_servers(environment, found, workers, database) if servers else nullcontext(environment) as complete:
            if fork_server is None:
                raise typer.Exit(run_together(found, complete, sockets))
            check_can_split(found, complete.read(Settings), workers)
            raise typer.Exit(run_split(found, system_name(system, settings), complete, sockets, workers, fork_server))


def _warn_about_data(system: "System", settings: "Settings") -> None:
    others = names_of_other_data(system, settings.data_dir)
    if others:
        print_warning(
            f"{settings.data_dir} also has data of services that {system.name} does not have: {', '.join(others)}. "
            "Services with the same name share their data. Set DATA_DIR to give a system data of its own."
        )
    asyncio.run(report_unmigrated(system, system.ports))


def names_of_other_data(system: "System", folder: "Path") -> list[str]:
    """Return the names of the embedded databases in a folder that belong to no service of the system."""
    from portico.kit.messaging.brokers.factory import EMBEDDED_FILE

    own = {EMBEDDED_FILE, *(f"{each.name}.db" for each in system.placements)}
    return sorted(file.stem for file in folder.glob("*.db") if file.name not in own)


def _choose_ports(system: "System", wanted: "Iterable[str]", gateway: int | None, *, free: bool) -> dict[str, int]:
    """Return the port of each part; 0 means any free port. Raises CommandError."""
    from portico.kit.runtime.system import GATEWAY

    ports = dict.fromkeys(system.ports, 0) if free else system.ports
    chosen = {} if gateway is None else {GATEWAY: gateway}
    return ports | _read_ports(system, wanted) | chosen


def _read_ports(system: "System", pairs: "Iterable[str]") -> dict[str, int]:
    """Parse `["identity=9001"]` into ports by name. Raises CommandError."""
    from portico.kit.runtime.system import GATEWAY

    ports = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if not text.isdigit() or not 0 < int(text) <= _MAX_PORT:
            raise CommandError(
                f"--port {pair} is not a name and a port.", "Write a name and a number: --port identity=9001."
            )
        ports[GATEWAY if name == GATEWAY else system.placement(name).name] = int(text)
    return ports


def _start_servers(
    environment: "Environment", system: "System", workers: int, database: Literal["postgresql", "mariadb"]
) -> "AbstractContextManager[Environment]":
    """Start private servers. Raises CommandError."""
    if sys.platform == "win32":
        raise CommandError(
            "Portico starts servers on Linux and macOS only.",
            "Start them yourself, and set DATABASE_URL, REDIS_URL and RABBITMQ_URL.",
        )
    from portico.cli.private_servers import private_servers

    return private_servers(environment, system, workers, database)


def run_together(system: "System", environment: "Environment", sockets: "Mapping[str, socket.socket]") -> int:
    """Serve every part of `system` in this process until SIGTERM or Ctrl-C; return the exit status."""
    from portico.cli.banner import new_administrator, print_system
    from portico.cli.process import Process, run
    from portico.kit.runtime.serving import ports_of
    from portico.kit.runtime.signals import stop_on_signals

    moved = system.with_ports(ports_of(sockets))
    process = Process(moved, environment, sockets)
    print_progress(_starting(system))

    def ready(composition: "Composition") -> None:
        print_system(moved, composition.host.settings, new_administrator(composition))

    async def serve() -> int:
        with stop_on_signals() as stop:
            await process.serve(stop, ready=ready)
        return 0

    return run(serve())


def _starting(system: "System") -> str:
    return f"Starting {', '.join(each.name for each in system.placements)} and the gateway …"


def check_database_is_used(database: str, *, servers: bool) -> None:
    """Raise CommandError if a database server is chosen, but none is started. `portico demo` uses this too."""
    if database != "postgresql" and not servers:
        raise CommandError(
            f"--database {database} is the database server of --servers.",
            f"Add --servers. To use a {database} server of your own, set DATABASE_URL.",
        )


def check_can_reload(*, workers: int, servers: bool) -> None:
    """Raise CommandError if --reload cannot be combined with the other options, or this platform cannot fork."""
    if not hasattr(os, "fork"):
        raise CommandError("--reload needs Linux or macOS.", "Run `portico up` again after a change.")
    if workers > 1 or servers:
        raise CommandError(
            "--reload cannot be combined with --workers or --servers.",
            "Leave them out. To use servers, start them yourself and set DATABASE_URL, REDIS_URL and RABBITMQ_URL.",
        )


def run_reloading(
    name: str, environment: "Environment", choose_ports: "Callable[[System], dict[str, int]]", *, split: bool
) -> int:
    """Serve a system until SIGTERM or Ctrl-C, and restart what changed; return the exit status."""
    from portico.cli.reload import Reloader
    from portico.kit.settings import Settings

    def check_and_choose(system: "System") -> dict[str, int]:
        if split:
            check_can_split(system, environment.read(Settings), 1)
        return choose_ports(system)

    return Reloader(name, environment, check_and_choose, split=split).run()


def check_can_split(system: "System", settings: "Settings", workers: int) -> None:
    """Raise CommandError if this platform, or an embedded backend, does not allow that many processes."""
    from portico.kit.messaging.brokers.factory import names_broker
    from portico.kit.settings import database_for

    if sys.platform == "win32":
        raise CommandError(
            "Windows cannot pass a listening socket to another process, which --split needs.",
            "Run each part by itself: portico run identity, and so on.",
        )
    consumers = [each.name for each in system.placements if each.service.consumers]
    if consumers and not names_broker(settings):
        raise CommandError(
            f"{system.name} in several processes needs a broker to deliver events to {', '.join(consumers)}.",
            "Add --servers, which starts one (and PostgreSQL and Redis), or set RABBITMQ_URL, NATS_URL or KAFKA_URL.",
        )
    if workers == 1:
        return
    embedded = [each.name for each in system.placements if database_for(settings, each.name).embedded]
    missing = []
    if embedded:
        missing.append(f"DATABASE_URL (the SQLite files of {', '.join(embedded)} allow one writing process each)")
    if settings.redis_url is None:
        missing.append("REDIS_URL (caches and rate limits in memory would differ between processes)")
    if missing:
        raise CommandError(
            f"--workers {workers} needs servers that all processes share.",
            f"Add --servers, or set {' and '.join(missing)}.",
        )


def run_split(
    system: "System",
    name: str,
    environment: "Environment",
    sockets: "Mapping[str, socket.socket]",
    workers: int,
    server: "ForkServer",
) -> int:
    """Serve every part of `system` in `workers` processes until SIGTERM or Ctrl-C; return the exit status."""
    from portico.cli.process import run
    from portico.kit.runtime.serving import ports_of
    from portico.kit.settings import Settings, check_server_passwords

    settings = environment.read(Settings)
    check_server_passwords(settings)
    os.environ.update(environment.variables)  # workers inherit it, with the command line's changes
    return run(_SplitSystem(system.with_ports(ports_of(sockets)), name, settings, sockets, workers, server).serve())


class _SplitSystem:
    """A system whose parts run in worker processes that this process supervises."""

    def __init__(
        self,
        system: "System",
        name: str,
        settings: "Settings",
        sockets: "Mapping[str, socket.socket]",
        workers: int,
        server: "ForkServer",
    ) -> None:
        self._system = system
        self._settings = settings
        self._sockets = sockets
        self._server = server
        self._not_ready = {f"{part} {number}" for part in sockets for number in range(1, workers + 1)}
        self._administrator: NewAdministrator | None = None
        issuers = [each.name for each in system.placements if each.service.verifier is not None]
        self._issuing = {f"{part} {number}" for part in issuers for number in range(1, workers + 1)}
        # Set when the processes that issue tokens are ready. The others need tokens, and start afterwards.
        self._issuers_ready = asyncio.Event()
        self._processes = {
            part: [self._process(name, part, number) for number in range(1, workers + 1)] for part in sockets
        }

    async def serve(self) -> int:
        from portico.kit.runtime.signals import USER_ERROR, stop_on_signals
        from portico.kit.runtime.supervisor import supervise_all
        from portico.kit.telemetry.logs import Logs

        logs = Logs.configure(level=self._settings.log_level, style=self._settings.log_format)
        everything = [each for processes in self._processes.values() for each in processes]
        print_progress(_starting(self._system))

        def kill() -> None:
            for each in everything:
                each.kill()

        try:
            with stop_on_signals(at_once=kill) as stop:
                started = await supervise_all(everything, stop)
                await self._stop()
            return 0 if started else USER_ERROR
        finally:
            logs.close()

    def _process(self, system: str, part: str, number: int) -> "SupervisedProcess":
        from portico.kit.runtime.supervisor import Assignment, Program, SupervisedProcess

        name = f"{part} {number}"
        assignment = Assignment(system, part, self._system.ports)
        program = Program(name, "portico.cli.worker:main", assignment, self._sockets[part])
        after = None if name in self._issuing or not self._issuing else self._issuers_ready
        return SupervisedProcess(program, self._server, lambda message: self._is_ready(name, message), after=after)

    def _is_ready(self, name: str, message: dict[str, Any]) -> None:
        from portico.cli.banner import NewAdministrator, print_system

        if message["administrator"] is not None:
            self._administrator = NewAdministrator(**message["administrator"])
        if name in self._not_ready:
            self._not_ready.remove(name)
            total = sum(map(len, self._processes.values()))
            shown = name.removesuffix(" 1") if total == len(self._processes) else name
            print_progress(f"{shown} is ready ({total - len(self._not_ready)} of {total})")
            if not self._issuing & self._not_ready:
                self._issuers_ready.set()
            if not self._not_ready:
                print_system(self._system, self._settings, self._administrator)

    async def _stop(self) -> None:
        """Stop the gateway first: its requests in flight still need the services."""
        from portico.kit.runtime.system import GATEWAY

        for bound in self._sockets.values():
            bound.close()  # connections waiting there would never be accepted
        grace = self._settings.grace_period
        await asyncio.gather(*(each.stop(grace) for each in self._processes[GATEWAY]))
        others = [each for part, processes in self._processes.items() if part != GATEWAY for each in processes]
        await asyncio.gather(*(each.stop(grace) for each in others))
