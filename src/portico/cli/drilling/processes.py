"""The parts of a drilled system, each in a process that is killed, stopped and started again."""

import asyncio
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from portico.kit.runtime.serving import bind_all, ports_of
from portico.kit.runtime.supervisor import Assignment, Program, StartFailed, SupervisedProcess
from portico.kit.runtime.system import GATEWAY, System

HOST = "127.0.0.1"
_OURS = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""what a part gets of this process's environment: its settings must be the drill's alone"""
_LIFE_WITHIN = 90.0  # seconds until a part answers


class PartFailed(RuntimeError):
    """A part of the system does not start, or no more."""


class Part:
    """A part of the system in a process of its own, which is started again when it dies.

    Args:
        program: what it runs.
    """

    def __init__(self, program: Program) -> None:
        self.name = program.name
        self._keeper = SupervisedProcess(program, lambda _: self._answers.set())
        self._log = program.log
        self._answers = asyncio.Event()
        self._turn = asyncio.Lock()

    async def keep(self) -> None:
        """Keep it alive until cancelled. Raises PartFailed."""
        try:
            await self._keeper.run()
        except StartFailed:
            raise PartFailed(f"{self.name} does not start:\n{self.said()}") from None

    async def alive(self) -> int:
        """Wait until it answers; its process id. Raises PartFailed."""
        try:
            async with asyncio.timeout(_LIFE_WITHIN):
                await self._answers.wait()
        except TimeoutError:
            raise PartFailed(f"{self.name} does not answer after {_LIFE_WITHIN:.0f} s:\n{self.said()}") from None
        if (pid := self._keeper.pid) is None:
            self._answers.clear()  # it died by itself
            return await self.alive()
        return pid

    async def crash(self) -> None:
        """Kill it, as a power cut would."""
        async with self._turn:
            await self.alive()
            self._answers.clear()
            self._keeper.kill()

    async def pause(self, seconds: float) -> None:
        """Stop it for so long: its connections stay open and nothing answers.

        Another process lets it go on, also where this one is killed meanwhile: what is stopped would outlive it.
        """
        async with self._turn:
            pid = await self.alive()
            script = f"kill -STOP {pid}; sleep {shlex.quote(str(seconds))}; kill -CONT {pid}"
            waker = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", script, stderr=subprocess.DEVNULL, start_new_session=True
            )
            await waker.wait()

    async def buried(self) -> None:
        """Kill it for good; to be called once `keep` has ended."""
        await self._keeper.kill_and_wait()

    def said(self) -> str:
        """The end of its log."""
        text = self._log.read_text(errors="replace") if self._log is not None and self._log.exists() else ""
        return "\n".join(text.splitlines()[-20:]) or "(it wrote no log)"


@asynccontextmanager
async def running(
    system: System, name: str, variables: Mapping[str, str], folder: Path
) -> AsyncIterator[tuple[System, dict[str, Part]]]:
    """The system on the ports that it has, and its parts by name; none of their processes outlives the block.

    Args:
        system: what runs.
        name: what finds it in another process.
        variables: its settings.
        folder: for its logs.

    Raises:
        PartFailed: one does not start.
    """
    sockets = bind_all(HOST, dict.fromkeys(system.ports, 0))
    async with AsyncExitStack() as stack:
        for bound in sockets.values():
            stack.callback(bound.close)
        moved = system.moved(ports_of(sockets))
        parts = {part: Part(_program(name, moved, part, bound, variables, folder)) for part, bound in sockets.items()}
        async with asyncio.TaskGroup() as group:
            keeping = [group.create_task(part.keep(), name=part.name) for part in parts.values()]
            try:
                for part in parts.values():
                    await part.alive()
                yield moved, parts
            finally:
                for task in keeping:
                    task.cancel()
                await asyncio.gather(*keeping, return_exceptions=True)  # the group tells of what they raised
                await asyncio.gather(*(part.buried() for part in parts.values()))


def _program(
    name: str, system: System, part: str, bound: socket.socket, variables: Mapping[str, str], folder: Path
) -> Program:
    assignment = Assignment(name, part, bound.fileno(), system.ports)
    environ = {name: os.environ[name] for name in _OURS if name in os.environ}
    environ["PYTHONPATH"] = os.pathsep.join(str(Path(each).absolute()) for each in sys.path if each)
    return Program(
        part,
        "portico.cli.worker",
        assignment,
        environ={**environ, **variables},
        folder=folder,  # no .env of where the drill was started
        log=folder / f"{part}.log",
    )


def gateway_of(system: System) -> str:
    """Where the gateway of a running system listens."""
    return f"http://{HOST}:{system.ports[GATEWAY]}"
