"""The parts of a system under drill, each in a worker process that can be killed and paused."""

import asyncio
import os
import shlex
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from portico.kit.runtime.fork_server import ForkServer
from portico.kit.runtime.serving import bind_all, ports_of
from portico.kit.runtime.supervisor import Assignment, Program, StartFailed, SupervisedProcess
from portico.kit.runtime.system import GATEWAY, System

HOST = "127.0.0.1"
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""Environment variables that a part inherits. All others would change the drill's settings."""
_READY_WITHIN = 90.0  # seconds


@dataclass(frozen=True)
class Worker:
    """How worker processes are started.

    Args:
        target: the function that a worker runs; it receives an `Assignment`.
        system: name or import path of the system, for the worker to find it.
        server: starts the processes.
    """

    target: str
    system: str
    server: ForkServer


class PartFailed(RuntimeError):
    """A part of the system does not start, or does not answer."""


class PartProcess:
    """A part of the system in its own process, which is restarted when it exits.

    Args:
        program: what the process runs.
        server: starts the process.
    """

    def __init__(self, program: Program, server: ForkServer) -> None:
        self.name = program.name
        self._process = SupervisedProcess(program, server, lambda _: self._ready.set())
        self._log = program.log
        self._ready = asyncio.Event()
        self._fault = asyncio.Lock()

    async def supervise(self) -> None:
        """Run the process, and restart it, until cancelled. Raises PartFailed."""
        try:
            await self._process.run()
        except StartFailed:
            raise PartFailed(f"{self.name} does not start:\n{self.end_of_log()}") from None

    async def wait_until_ready(self) -> int:
        """Wait until the part answers; return its process id. Raises PartFailed."""
        try:
            async with asyncio.timeout(_READY_WITHIN):
                await self._ready.wait()
        except TimeoutError:
            raise PartFailed(f"{self.name} does not answer after {_READY_WITHIN:.0f} s:\n{self.end_of_log()}") from None
        if (pid := self._process.pid) is None:
            self._ready.clear()  # it exited by itself
            return await self.wait_until_ready()
        return pid

    async def crash(self) -> None:
        """Kill the process with SIGKILL."""
        async with self._fault:
            await self.wait_until_ready()
            self._ready.clear()
            self._process.kill()

    async def pause(self, seconds: float) -> None:
        """Stop the process for `seconds`: its connections stay open, and it answers nothing.

        A shell continues it, so that no stopped process is left if this process is killed meanwhile.
        """
        async with self._fault:
            pid = await self.wait_until_ready()
            script = f"kill -STOP {pid}; sleep {shlex.quote(str(seconds))}; kill -CONT {pid}"
            shell = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", script, stderr=subprocess.DEVNULL, start_new_session=True
            )
            await shell.wait()

    async def kill_and_wait(self) -> None:
        """Kill the process, and wait for its exit. Call this once `supervise` has ended."""
        await self._process.kill_and_wait()

    def end_of_log(self) -> str:
        """Return the last lines of the part's log."""
        text = self._log.read_text(errors="replace") if self._log is not None and self._log.exists() else ""
        return "\n".join(text.splitlines()[-20:]) or "(it wrote no log)"


@asynccontextmanager
async def run_parts(
    system: System, worker: Worker, variables: Mapping[str, str], folder: Path
) -> AsyncIterator[tuple[System, dict[str, PartProcess]]]:
    """Run each part of `system` in a process for the duration of the block.

    The value is the system with its actual ports, and the parts by name.

    Args:
        system: what runs.
        worker: how processes are started.
        variables: the settings.
        folder: the working directory, and where logs are written.

    Raises:
        PartFailed: a part does not start.
    """
    sockets = bind_all(HOST, dict.fromkeys(system.ports, 0))
    async with AsyncExitStack() as stack:
        for bound in sockets.values():
            stack.callback(bound.close)
        moved = system.with_ports(ports_of(sockets))
        programs = [_program(worker, moved, part, bound, variables, folder) for part, bound in sockets.items()]
        parts = {program.name: PartProcess(program, worker.server) for program in programs}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part.supervise(), name=part.name) for part in parts.values()]
            try:
                for part in parts.values():
                    await part.wait_until_ready()
                yield moved, parts
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)  # the task group raises their errors
                await asyncio.gather(*(part.kill_and_wait() for part in parts.values()))


def _program(
    worker: Worker, system: System, part: str, bound: socket.socket, variables: Mapping[str, str], folder: Path
) -> Program:
    environ = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return Program(
        part,
        worker.target,
        Assignment(worker.system, part, system.ports),
        bound,
        environ={**environ, **variables},
        folder=folder,  # not the current directory, whose .env would be read
        log=folder / f"{part}.log",
    )


def gateway_url(system: System) -> str:
    """Return the address of the gateway of a running system."""
    return f"http://{HOST}:{system.ports[GATEWAY]}"
