"""Supervise worker processes: restart each one that exits, and end all of them when the parent ends."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from portico.kit.foundation.aio import wait_for_event
from portico.kit.foundation.backoff import Backoff
from portico.kit.runtime.fork_server import ForkedCommand, ForkedProcess, ForkServer
from portico.kit.runtime.signals import USER_ERROR
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

RESTART_BACKOFF: Final = Backoff(base=0.1, limit=5.0, jitter=0.0)
"""Seconds before a process that exited is restarted. The delay doubles until a process has run for `STEADY` seconds."""
STEADY: Final = 5.0
_MARGIN = 5.0  # seconds after the grace period before a process that does not exit is killed
_MAX_LINE_LENGTH = 4096
_MAX_ASSIGNMENT = 65_536  # bytes


@dataclass(frozen=True)
class Assignment:
    """Assignment of a worker process: serve `part` of `system`.

    Args:
        system: name or import path of the system.
        part: the gateway, or one of the services.
        ports: the port of each part of the system.
    """

    system: str
    part: str
    ports: dict[str, int]

    def send(self, control: socket.socket, bound: socket.socket) -> None:
        """Send the assignment to a worker, with the listening socket of the part."""
        socket.send_fds(control, [json.dumps(asdict(self)).encode()], [bound.fileno()])

    @classmethod
    def receive(cls, control: socket.socket) -> tuple[Self, socket.socket]:
        """Return the assignment that the parent has sent, with the listening socket."""
        body, descriptors, _, _ = socket.recv_fds(control, _MAX_ASSIGNMENT, 1)
        return cls(**json.loads(body)), socket.socket(fileno=descriptors[0])


@dataclass(frozen=True)
class Program:
    """How to start a worker process.

    Args:
        name: of the process, in logs and in `ps`.
        target: the function to run, such as "portico.cli.worker:main".
        assignment: what the process serves. The function receives it through standard input.
        bound: the listening socket.
        environ: environment of the process; None inherits this process's.
        folder: working directory; None inherits this process's.
        log: file for standard output and standard error; None inherits this process's.
    """

    name: str
    target: str
    assignment: Assignment
    bound: socket.socket
    environ: Mapping[str, str] | None = None
    folder: Path | None = None
    log: Path | None = None


class StartFailed(Exception):
    """A process exited before it was ready. It has printed the reason, which a restart does not remove."""


class SupervisedProcess:
    """One worker process, which is restarted with growing delays when it exits.

    Args:
        program: what to run.
        server: starts the process.
        ready: called with the worker's message each time a worker is ready.
        after: event that the first start waits for.
    """

    def __init__(
        self,
        program: Program,
        server: ForkServer,
        ready: Callable[[dict[str, Any]], None],
        *,
        after: asyncio.Event | None = None,
    ) -> None:
        self.program = program
        self._server = server
        self._after = after
        self._ready = ready
        self._process: ForkedProcess | None = None
        self._stopping = asyncio.Event()
        self._was_ready = False

    async def run(self) -> None:
        """Run the process, and restart it, until `stop` is called. Raises StartFailed."""
        failures = 0
        loop = asyncio.get_running_loop()
        if self._after is not None:
            waiting = [asyncio.create_task(each.wait()) for each in (self._after, self._stopping)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()
        while not self._stopping.is_set():
            started_at = loop.time()
            status = await self._run_once()
            if self._stopping.is_set():
                return
            if status == USER_ERROR and not self._was_ready:
                raise StartFailed(self.program.name)
            failures = 0 if loop.time() - started_at > STEADY else failures + 1
            delay = RESTART_BACKOFF.delay(failures)
            logger.error("process_exited", process=self.program.name, status=status, restart_in_seconds=delay)
            await wait_for_event(self._stopping, delay)

    @property
    def pid(self) -> int | None:
        """The process id; None while no process runs."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    async def stop(self, grace: float) -> None:
        """Ask the process to exit within `grace` seconds; kill it a few seconds later."""
        self._stopping.set()
        if self._process is None:
            return
        self._send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.exited(), grace + _MARGIN)
        except TimeoutError:
            logger.error("process_killed", process=self.program.name)  # noqa: TRY400 the traceback does not help
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the process, if one runs."""
        self._send_signal(signal.SIGKILL)

    async def kill_and_wait(self) -> None:
        """Kill the process, if one runs, and wait for its exit. Call this after `run` has ended."""
        self.kill()
        if self._process is not None:
            await self._process.exited()

    def _send_signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    async def _run_once(self) -> int:
        parent_socket, child_socket = socket.socketpair()
        with parent_socket:
            with child_socket:
                self._process = self._start(child_socket)
            with contextlib.suppress(BrokenPipeError):  # it has exited already
                self.program.assignment.send(parent_socket, self.program.bound)
            reader, writer = await asyncio.open_connection(sock=parent_socket, limit=_MAX_LINE_LENGTH)
            messages = asyncio.create_task(self._read_messages(reader))
            try:
                return await self._process.exited()
            finally:
                messages.cancel()
                writer.close()

    def _start(self, control: socket.socket) -> ForkedProcess:
        program = self.program
        command = ForkedCommand(
            program.target,
            arguments=(),
            environ=os.environ if program.environ is None else program.environ,
            name=program.name,
            folder=None if program.folder is None else str(program.folder),
            new_session=True,  # Ctrl-C in a terminal reaches only the parent
        )
        if program.log is None:
            return self._server.start(command, (control, 1, 2))
        with program.log.open("ab") as log:
            return self._server.start(command, (control, log, log))

    async def _read_messages(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self._was_ready = True
            self._ready(json.loads(line))


async def supervise_all(processes: Sequence[SupervisedProcess], stop: asyncio.Event) -> bool:
    """Run all processes until `stop` is set or one of them cannot start.

    Returns:
        True if `stop` was set, False if a process could not start.
    """
    tasks = [asyncio.create_task(each.run(), name=each.program.name) for each in processes]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    failed = [error for task in done if task is not stopped and (error := task.exception()) is not None]
    for error in failed:
        if not isinstance(error, StartFailed):
            raise error
    return not failed
