"""Keeping processes alive: each is restarted when it dies, and all end with the one that started them."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from portico.cli.errors import MENDABLE
from portico.kit.foundation.backoff import Backoff
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

RESTART_BACKOFF: Final = Backoff(base=0.1, limit=5.0, jitter=0.0)
"""seconds before a process that died is started again: doubled each time, until it has lived for `STEADY` seconds"""
STEADY: Final = 5.0
_MARGIN = 5.0  # seconds beyond the grace period until a process that does not end is killed
_LONGEST_LINE = 4096


@dataclass(frozen=True)
class Program:
    """A process to keep.

    Args:
        name: what it is called.
        module: what it runs.
        argument: the one that it gets.
        descriptor: of the socket that it inherits.
        environ: its environment; None gives it this process's.
        folder: where it works; None: where this process does.
        log: the file to which it writes what it says; None: it says it where this process does.
    """

    name: str
    module: str
    argument: str
    descriptor: int
    environ: Mapping[str, str] | None = None
    folder: Path | None = None
    log: Path | None = None


class Unmendable(Exception):
    """A process ended before it ever answered, and has said what the user has to mend."""


class Keeper:
    """Keeps one process: starts it, and starts it again with growing waits when it dies.

    Args:
        program: what to run.
        ready: called with what the process says once it answers, each time.
    """

    def __init__(self, program: Program, ready: Callable[[dict[str, Any]], None]) -> None:
        self.program = program
        self._ready = ready
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._answered = False

    async def run(self) -> None:
        """Keep it until `stop`. Raises Unmendable."""
        deaths = 0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            status = await self._live()
            if self._stopping.is_set():
                return
            if status == MENDABLE and not self._answered:
                raise Unmendable(self.program.name)
            deaths = 0 if loop.time() - began > STEADY else deaths + 1
            wait = RESTART_BACKOFF.delay(deaths)
            logger.error("process_exited", process=self.program.name, status=status, restart_in_seconds=wait)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    @property
    def pid(self) -> int | None:
        """The process's id; None where none runs just now."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def stop(self, grace: float) -> None:
        """Have it end, within `grace` seconds; it is killed a little later."""
        self._stopping.set()
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace + _MARGIN)
        except TimeoutError:
            logger.error("process_killed", process=self.program.name)  # noqa: TRY400 no trace helps
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    async def buried(self) -> None:
        """Kill it where it still lives, and wait until it is gone; to be called once `run` has ended."""
        self.kill()
        if self._process is not None:
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _live(self) -> int:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._process = await self._begun(theirs)
            reader, writer = await asyncio.open_connection(sock=ours, limit=_LONGEST_LINE)
            broadcasts = asyncio.create_task(self._listen(reader))
            try:
                return await self._process.wait()
            finally:
                broadcasts.cancel()
                writer.close()

    async def _begun(self, control: socket.socket) -> asyncio.subprocess.Process:
        program = self.program
        with contextlib.nullcontext() if program.log is None else program.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                program.module,
                program.argument,
                stdin=control.fileno(),
                stdout=log,
                stderr=log,
                pass_fds=[program.descriptor],
                env=program.environ,
                cwd=program.folder,
                start_new_session=True,  # a terminal's Ctrl-C is for the one who decides
            )

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self._answered = True
            self._ready(json.loads(line))


async def keep_all(keepers: Sequence[Keeper], stop: asyncio.Event) -> bool:
    """Keep processes until `stop` is set; whether that is why it ended, not that one of them could never start."""
    tasks = [asyncio.create_task(each.run(), name=each.program.name) for each in keepers]
    asked = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({*tasks, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    failed = [error for task in done if task is not asked and (error := task.exception()) is not None]
    for error in failed:
        if not isinstance(error, Unmendable):
            raise error
    return not failed
