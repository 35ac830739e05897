"""A shop of the demo's own, in a temporary folder on free ports, whose processes may be killed."""

import asyncio
import json
import secrets
import shlex
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from portico.demo.errors import DemoFailed
from portico.demo.people import Person
from portico.demo.starting import begin, end, free_ports, unlimited, wait_until_up
from portico.demo.walkthrough import NotAsItShouldBe

PARTS = ("notifications", "payments", "orders", "catalog", "identity", "gateway")
SERVERS = ("redis", "rabbitmq", "postgresql")
WHOLE = "the whole"

_UP_WITHIN = 60.0  # seconds
_UP_WITH_SERVERS_WITHIN = 180.0
_DOWN_WITHIN = 60.0
_CHILD = "portico.cli.worker"


@dataclass
class OwnShop:
    """The commerce system, with nobody else in it.

    Args:
        folder: where its data and its log are.
        ports: of each part.
        servers: whether it runs on servers, in a process for each part; in one process on embedded backends otherwise.
        staff: its administrator.
    """

    folder: Path
    ports: dict[str, int]
    servers: bool
    staff: Person = field(default_factory=lambda: Person("staff@example.com", secrets.token_urlsafe(16)))
    _process: asyncio.subprocess.Process | None = None

    @property
    def gateway(self) -> str:
        """The address of its gateway."""
        return f"http://127.0.0.1:{self.ports['gateway']}"

    @property
    def killable(self) -> tuple[str, ...]:
        """What `kill` takes: a process of each kind."""
        return (*PARTS, *SERVERS) if self.servers else (WHOLE,)

    async def start(self) -> None:
        """Start it, and wait until all of it answers. Raises DemoFailed."""
        log = self.folder / "shop.log"
        ports = [f"--port={name}={port}" for name, port in self.ports.items()]
        options = ["--split", "--servers"] if self.servers else []
        self._process = await begin("up", "commerce", *ports, *options, variables=self._variables(), log=log)
        within = _UP_WITH_SERVERS_WITHIN if self.servers else _UP_WITHIN
        await wait_until_up(self._process, f"{self.gateway}/health", log=log, within=within)

    async def stop(self) -> None:
        """End it as Ctrl-C would."""
        if self._process is not None:
            await end(self._process, within=_DOWN_WITHIN)

    async def kill(self, name: str) -> None:
        """Kill one of `killable` as a power cut would. What watches over it starts it again. Raises NotAsItShouldBe."""
        if self._process is None:
            raise RuntimeError("it was never started")
        if name == WHOLE:  # nobody watches over the one process but this one
            self._process.kill()
            await self._process.wait()
            await self.start()
            return
        found = await asyncio.to_thread(self._find, name, self._process.pid)
        if found is None:
            raise NotAsItShouldBe(f"there should be a process of {name} to kill, and there is none")
        found.send_signal(signal.SIGKILL)

    async def dead_letters(self) -> list[dict[str, Any]]:
        """Events that a consumer could not handle, as `portico dead-letters list` gives them. Raises DemoFailed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "portico", "dead-letters", "list", "--json", "--system", "commerce"),
            env=self._variables() | self._told(),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        if process.returncode != 0:
            raise DemoFailed("portico dead-letters failed.", err.decode(errors="replace")[-2000:])
        found: list[dict[str, Any]] = json.loads(out)
        return found

    def _variables(self) -> dict[str, str]:
        staff = {"ADMIN_EMAIL": self.staff.email, "ADMIN_PASSWORD": self.staff.password}
        cheap = {
            "IDENTITY_PASSWORD_PASSES": "1",
            "IDENTITY_PASSWORD_MEMORY_KIB": "64",
        }  # of people who are gone in a minute
        return {**unlimited("commerce", self.folder), **staff, **cheap}

    def _told(self) -> dict[str, str]:
        """Where the servers are, as `portico up --servers` tells other commands."""
        if not self.servers:
            return {}
        lines = (self._servers / "environment").read_text("utf-8").splitlines()
        return dict(shlex.split(line)[0].split("=", 1) for line in lines)

    @property
    def _servers(self) -> Path:
        return self.folder / "data" / "servers"

    def _find(self, name: str, watcher: int) -> psutil.Process | None:
        if name in SERVERS:
            remembered = json.loads((self._servers / f"{name}.json").read_text("utf-8"))
            return psutil.Process(remembered["pid"])
        for child in psutil.Process(watcher).children():
            words = child.cmdline()
            if _CHILD in words and json.loads(words[-1])["part"] == name:
                return child
        return None


@asynccontextmanager
async def own_shop(*, servers: bool) -> AsyncIterator[OwnShop]:
    """The shop, up; its processes ended and its folder removed at the end. Raises DemoFailed."""
    async with AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-demo-", ignore_cleanup_errors=True))
        )
        shop = OwnShop(folder, dict(zip(PARTS, free_ports(len(PARTS)), strict=True)), servers)
        stack.push_async_callback(shop.stop)
        await shop.start()
        yield shop
