"""The drill on servers: each part of the system in its own process, on private servers. Processes and servers are killed."""

import asyncio
import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from portico.drill.databases import DrillDatabases
from portico.drill.fault_schedule import BATCH_FAULT_SHARE, ScheduledFault, feasible_kinds, schedule_faults
from portico.drill.faults.processes import ProcessFaults
from portico.drill.part_processes import PartFailed, PartProcess, Worker, gateway_url, run_parts
from portico.drill.private_servers import PrivateServers, start_private_servers
from portico.drill.quiescence import wait_until_quiet
from portico.drill.report import Report
from portico.drill.scenario import Scenario
from portico.drill.scenarios import scenario_of
from portico.drill.setup import DrillSettings, OnDone, Progress, system_settings
from portico.kit.calls.directory import Directory
from portico.kit.calls.http_channel import HttpChannel
from portico.kit.foundation.errors import CommandError
from portico.kit.messaging.brokers.base import Broker
from portico.kit.messaging.brokers.factory import open_broker
from portico.kit.runtime.databases import open_database
from portico.kit.runtime.signals import run_until_interrupted
from portico.kit.runtime.system import System
from portico.kit.settings import Environment, Settings, mask_url
from portico.servers import Server, ServerFailed

_CONCURRENT_ACTIONS = 8  # so that some are in flight when a fault occurs
_PAUSE = 1.0  # seconds
_QUIET_WITHIN = 300.0  # seconds without progress; longer than the lease of a saga whose process died


def drill_on_private_servers(
    system: System, worker: Worker, drill: DrillSettings, progress: Progress, on_done: OnDone
) -> Report:
    """Drill `system` on servers that are started for it. SIGTERM, Ctrl-C and a closed terminal end it and everything that it started.

    Raises:
        CommandError: a server is not installed, or a process or server does not start.
        Interrupted: one of these signals was received.
    """
    with tempfile.TemporaryDirectory(prefix="portico-drill-") as path:
        folder = Path(path)
        progress("starting PostgreSQL, Redis and RabbitMQ")
        with start_private_servers() as servers:
            work = run_on_servers(system, worker, drill, servers, folder, progress=progress, on_done=on_done)
            try:
                report = asyncio.run(run_until_interrupted(work))
            except ExceptionGroup as group:
                raise _first_failure(group, _copy_logs(folder)) from group
        if not report.passed:
            progress(f"the logs of the processes are in {_copy_logs(folder)}")
        return report


async def run_on_servers(
    system: System,
    worker: Worker,
    drill: DrillSettings,
    servers: PrivateServers,
    folder: Path,
    *,
    progress: Progress = lambda _: None,
    on_done: OnDone = lambda _: None,
) -> Report:
    """Drill `system` in a process for each part, on new `servers`.

    Args:
        system: a system that has a drill.
        worker: how its processes are started.
        drill: what to do; its rate is the share of orders after which a fault occurs.
        servers: the servers, which are killed too.
        folder: an empty folder for files and logs.
        progress: called with messages about the progress.
        on_done: called with the number of acknowledged actions after each.

    Raises:
        PartFailed: a part of the system does not start, or does not answer.
        ServerFailed: a killed server does not start again.
    """
    started_at = time.monotonic()
    report = Report(drill.seed, points=drill.orders)
    scenario = scenario_of(system, drill, concurrency=_CONCURRENT_ACTIONS)
    inside = ProcessFaults(str(folder), drill.seed, feasible_kinds(drill.faults), drill.rate * BATCH_FAULT_SHARE)
    variables = {**_settings(servers, folder), **scenario.settings, **inside.variables}
    async with run_parts(system, worker, variables, folder) as (running, parts), _open_channel(running) as channel:
        described = await scenario.set_up(channel, variables)
        faults = schedule_faults(drill.seed, drill.faults, orders=drill.orders, rate=drill.rate, parts=list(parts))
        progress(f"{described}, {len(faults)} faults scheduled")
        with inside.occurring(report):
            await FaultRunner(parts, servers, report, progress).run(scenario, faults, on_done)
        progress(f"{scenario.done} {scenario.actions} done; {report.injected.total()} faults; waiting for quiet")
        async with _open_databases(running, variables, scenario) as (databases, broker):
            await wait_until_quiet(
                databases, broker, report, within=_QUIET_WITHIN, alive=lambda: _wait_for_parts(parts)
            )
            await scenario.conclude(databases, report)
    report.injected = Counter(dict(sorted(report.injected.items())))
    report.seconds = time.monotonic() - started_at
    return report


def _settings(servers: PrivateServers, folder: Path) -> dict[str, str]:
    """Return the settings of the processes, which share their secrets."""
    keys = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "SERVICE_SECRET", "PAYMENTS_WEBHOOK_SECRET")}
    return {**system_settings(folder), **servers.variables, **keys, "LOG_LEVEL": "warning", "LOG_FORMAT": "text"}


async def _wait_for_parts(parts: Mapping[str, PartProcess]) -> None:
    for part in parts.values():
        await part.wait_until_ready()


class FaultRunner:
    """Causes scheduled faults while users act.

    Args:
        parts: the processes, by name.
        servers: the servers.
        report: counts the faults.
        progress: called with a message for each fault.
    """

    def __init__(
        self, parts: Mapping[str, PartProcess], servers: PrivateServers, report: Report, progress: Progress
    ) -> None:
        self._parts = parts
        self._servers = servers
        self._by_name = {server.name: server for server in servers.all}
        self._locks = {name: asyncio.Lock() for name in self._by_name}
        self._report = report
        self._progress = progress

    async def run(self, scenario: Scenario, faults: list[ScheduledFault], on_done: OnDone) -> None:
        """Let the users act and cause the faults, until both are done."""
        async with asyncio.TaskGroup() as group:

            def count(number: int) -> None:
                on_done(number)
                for fault in faults:
                    if fault.after == number:
                        group.create_task(self._cause(fault), name=str(fault))

            scenario.on_done = count
            await scenario.act()

    async def _cause(self, fault: ScheduledFault) -> None:
        match fault.kind:
            case "crash":
                await self._parts[fault.target].crash()
                self._report.crashes += 1
            case "slow":
                await self._parts[fault.target].pause(_PAUSE)
            case "database":
                async with self._locks[fault.target]:  # not while the server restarts
                    await asyncio.to_thread(self._servers.terminate_connections)
            case _:
                async with self._locks[fault.target]:
                    await asyncio.to_thread(_kill_and_restart, self._by_name[fault.target])
        self._report.injected[str(fault)] += 1
        self._progress(f"after {fault.after}: {fault}")


def _kill_and_restart(server: Server) -> None:
    server.kill()
    server.restart()


@asynccontextmanager
async def _open_channel(system: System) -> AsyncIterator[HttpChannel]:
    channel = HttpChannel(Directory({"gateway": gateway_url(system)}))
    try:
        yield channel
    finally:
        await channel.aclose()


@asynccontextmanager
async def _open_databases(
    system: System, variables: Mapping[str, str], scenario: Scenario
) -> AsyncIterator[tuple[DrillDatabases, Broker]]:
    """Open the databases and the broker of a running system."""
    settings = Environment(variables).read(Settings)
    async with AsyncExitStack() as stack:
        databases = {
            placement.name: await stack.enter_async_context(open_database(placement, settings))
            for placement in system.placements
        }
        broker = await stack.enter_async_context(open_broker(settings, system.name))
        yield scenario.open(system, databases), broker


def _copy_logs(folder: Path) -> Path:
    copied = Path(tempfile.mkdtemp(prefix="portico-drill-logs-"))
    for log in folder.glob("*.log"):
        shutil.copy(log, copied)
    return copied


def _first_failure(group: BaseExceptionGroup[Any], logs: Path) -> BaseException:
    """Return the error to raise: the first known failure as CommandError, else the whole group."""
    known = group.subgroup((PartFailed, ServerFailed))
    if known is None:
        return group
    first: BaseException = known
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return CommandError(f"The drill could not continue: {mask_url(str(first))}", f"The logs are in {logs}.")
