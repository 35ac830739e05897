"""A system that the demo starts, in a temporary folder on free ports. Its processes may be killed."""

import asyncio
import json
import secrets
import shlex
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from portico.demo.accounts import Account
from portico.demo.own_system import environment_for, start_command, stop_command, wait_until_ready
from portico.gateway_client import ExpectationFailed
from portico.kit.foundation.errors import CommandError
from portico.kit.runtime.system_loader import find_system
from portico.servers import free_port
from portico.servers.processes import serves

WHOLE = "the whole system"

_READY_WITHIN = 60.0  # seconds
_READY_WITH_SERVERS_WITHIN = 180.0
_STOPPED_WITHIN = 60.0


@dataclass
class SupervisedSystem:
    """A running system.

    Args:
        system: its name.
        folder: for its data and its log.
        ports: of each part.
        database: the database of its private servers, "postgresql" or "mariadb", with a process for each part; None for
            one process with everything embedded.
        settings: more settings of it.
        staff: its administrator.
    """

    system: str
    folder: Path
    ports: dict[str, int]
    database: str | None
    settings: Mapping[str, str] = field(default_factory=dict)
    staff: Account = field(default_factory=lambda: Account("staff@example.com", secrets.token_urlsafe(16)))
    _process: asyncio.subprocess.Process | None = None

    @property
    def gateway(self) -> str:
        """The address of its gateway."""
        return f"http://127.0.0.1:{self.ports['gateway']}"

    @property
    def targets(self) -> tuple[str, ...]:
        """The names that `kill` accepts: a process of each kind."""
        return (*reversed(self.ports), *self._server_names) if self._server_names else (WHOLE,)

    async def start(self) -> None:
        """Start it, and wait until all parts are ready. Raises CommandError."""
        log = self.folder / f"{self.system}.log"
        ports = [f"--port={name}={port}" for name, port in self.ports.items()]
        options = ["--split", "--servers", f"--database={self.database}"] if self.database else []
        self._process = await start_command("up", self.system, *ports, *options, variables=self._variables(), log=log)
        within = _READY_WITH_SERVERS_WITHIN if self.database else _READY_WITHIN
        await wait_until_ready(self._process, f"{self.gateway}/health", log=log, within=within)

    async def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            await stop_command(self._process, within=_STOPPED_WITHIN)

    async def kill(self, name: str) -> None:
        """Kill one of `targets` with SIGKILL. Its supervisor restarts it. Raises ExpectationFailed."""
        if self._process is None:
            raise RuntimeError("the system is not started")
        if name == WHOLE:  # the single process has no supervisor
            self._process.kill()
            await self._process.wait()
            await self.start()
            return
        if not await asyncio.to_thread(self._kill_process, name, self._process.pid):
            raise ExpectationFailed(f"Expected: a process of {name} runs")

    async def dead_letters(self) -> list[dict[str, Any]]:
        """Return what `portico dead-letters list` prints. Raises CommandError."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "portico", "dead-letters", "list", "--json", "--system", self.system),
            env=self._variables() | self._server_variables(),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        if process.returncode != 0:
            raise CommandError("portico dead-letters failed.", err.decode(errors="replace")[-2000:])
        found: list[dict[str, Any]] = json.loads(out)
        return found

    @property
    def _server_names(self) -> tuple[str, ...]:
        return ("redis", "rabbitmq", self.database) if self.database else ()

    def _variables(self) -> dict[str, str]:
        staff = {"ADMIN_EMAIL": self.staff.email, "ADMIN_PASSWORD": self.staff.password}
        fast_hashing = {"IDENTITY_PASSWORD_PASSES": "1", "IDENTITY_PASSWORD_MEMORY_KIB": "64"}
        return {**environment_for(self.system, self.folder), **staff, **fast_hashing, **self.settings}

    def _server_variables(self) -> dict[str, str]:
        """Return the settings that `portico up --servers` writes for other commands."""
        if not self.database:
            return {}
        lines = (self._servers / "environment").read_text("utf-8").splitlines()
        return dict(shlex.split(line)[0].split("=", 1) for line in lines)

    @property
    def _servers(self) -> Path:
        return self.folder / "data" / "servers"

    def _kill_process(self, name: str, supervisor: int) -> bool:
        """Kill the server or part of this name. Return whether it ran."""
        if name in self._server_names:
            state = json.loads((self._servers / f"{name}.json").read_text("utf-8"))
            with suppress(psutil.NoSuchProcess):
                psutil.Process(state["pid"]).kill()
                return True
            return False
        for child in psutil.Process(supervisor).children(recursive=True):
            if serves(child, name, self.ports[name]):
                with suppress(psutil.NoSuchProcess):  # it has just exited
                    child.kill()
                    return True
        return False


@asynccontextmanager
async def start_system(
    name: str, *, database: str | None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[SupervisedSystem]:
    """Start a shipped system; at the end, stop its processes and delete its folder.

    Args:
        name: of the system.
        database: see SupervisedSystem.
        settings: more settings of it.

    Raises:
        CommandError: it is not ready in time.
    """
    parts = find_system(name).ports
    async with AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-demo-", ignore_cleanup_errors=True))
        )
        ports = {part: free_port() for part in parts}
        system = SupervisedSystem(name, folder, ports, database, settings or {})
        stack.push_async_callback(system.stop)
        await system.start()
        yield system
