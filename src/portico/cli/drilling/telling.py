"""A drill on servers as the command line runs it: it ends when it is told to, and leaves logs where it failed."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from portico.cli.drilling.processes import PartFailed
from portico.cli.drilling.servers import Progress, own_servers, run_on_servers
from portico.cli.errors import CommandError
from portico.drill import DrillSettings, Report
from portico.kit.runtime.signals import stop_requested
from portico.kit.runtime.system import System
from portico.kit.settings import mask_url
from portico.servers import ServerFailed

T = TypeVar("T")


class Interrupted(Exception):
    """A drill was told to stop before its end."""


def drilled_on_servers(system: System, name: str, drill: DrillSettings, progress: Progress) -> Report:
    """Drill `system`, which `name` finds in another process, on servers of its own; nothing of both is left running.

    Raises:
        CommandError: a server is not installed, or a process or server does not start.
        Interrupted: SIGTERM or Ctrl-C came.
    """
    with tempfile.TemporaryDirectory(prefix="portico-drill-") as place:
        folder = Path(place)
        progress("starting PostgreSQL, Redis and RabbitMQ")
        with own_servers() as servers:
            running = run_on_servers(system, name, drill, servers, folder, progress=progress)
            try:
                report = asyncio.run(_until_told(running))
            except ExceptionGroup as group:
                raise _told(group, _kept_logs(folder)) from group
        if not report.passed:
            progress(f"what the processes logged is in {_kept_logs(folder)}")
        return report


async def _until_told(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; it is cancelled when this process is told to stop. Raises Interrupted."""
    with stop_requested() as stop:
        task = asyncio.create_task(work)
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            raise Interrupted
        return task.result()


def _kept_logs(folder: Path) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="portico-drill-logs-"))
    for log in folder.glob("*.log"):
        shutil.copy(log, kept)
    return kept


def _told(group: BaseExceptionGroup[Any], logs: Path) -> BaseException:
    """What there is to tell of a drill that could not go on: the first of what is known, else all."""
    known = group.subgroup((PartFailed, ServerFailed))
    if known is None:
        return group
    first: BaseException = known
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return CommandError(f"The drill could not go on: {mask_url(str(first))}", f"The logs are in {logs}.")
