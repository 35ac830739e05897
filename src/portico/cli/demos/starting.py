"""A system of the demo's own: a process each, in a temporary folder, on free ports."""

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from portico.cli.errors import CommandError

_UP_WITHIN = 30.0  # seconds
_DOWN_WITHIN = 20.0  # seconds
_CLOSELY = 0.05  # seconds between two looks
_GENEROUS = "1000000/minute"
_OURS = ("DATABASE_URL", "DATABASE_REPLICA_URL", "REDIS_URL", "SECRET_KEY", "SERVICE_SECRET", "HOST", "DEBUG")


@dataclass
class OwnSystem:
    """Processes of the catalog system that nobody else uses.

    Args:
        folder: where their data and logs are.
        ports: of `gateway`, `identity` and `catalog`.
    """

    folder: Path
    ports: Mapping[str, int]
    _processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    @property
    def gateway(self) -> str:
        return self._address("gateway")

    @property
    def catalog(self) -> str:
        return self._address("catalog")

    async def start(self, name: str) -> None:
        """Start one process, and wait until it may get traffic. Raises CommandError."""
        log = (self.folder / f"{name}.log").open("ab")
        try:
            self._processes[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "portico", "run", name, "--port", str(self.ports[name])),
                env=self._environment(),
                cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        finally:
            log.close()
        await self._wait_until_ready(name)

    async def stop(self, name: str) -> None:
        """End one process as Ctrl-C would, or harder where it does not."""
        process = self._processes.pop(name, None)
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _DOWN_WITHIN)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def start_identity(self) -> None:
        await self.start("identity")

    async def stop_identity(self) -> None:
        await self.stop("identity")

    def _address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in _OURS}
        addresses = {f"{name.upper()}_SERVICE_URL": self._address(name) for name in ("identity", "catalog")}
        limits = {"RATE_LIMIT": _GENEROUS, "RATE_LIMIT_SIGN_IN": _GENEROUS, "LOG_LEVEL": "info", "LOG_FORMAT": "json"}
        return {**kept, **addresses, **limits, "PORTICO_SYSTEM": "catalog", "DATA_DIR": str(self.folder / "data")}

    async def _wait_until_ready(self, name: str) -> None:
        process, until = self._processes[name], time.monotonic() + _UP_WITHIN
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < until and process.returncode is None:
                try:
                    async with session.get(f"{self._address(name)}/health/ready") as answer:
                        if answer.ok:
                            return
                except aiohttp.ClientError:
                    pass  # it does not listen yet
                await asyncio.sleep(_CLOSELY)
        said = (self.folder / f"{name}.log").read_text("utf-8", "replace")[-2000:]
        raise CommandError(f"{name} did not come up within {_UP_WITHIN:.0f} s.", f"It said:\n{said}")


@asynccontextmanager
async def own_system() -> AsyncIterator[OwnSystem]:
    """The system, up; its processes ended and its folder removed at the end. Raises CommandError."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-demo-")))
        system = OwnSystem(folder, dict(zip(("identity", "catalog", "gateway"), _free_ports(3), strict=True)))
        for name in system.ports:
            stack.push_async_callback(system.stop, name)
            await system.start(name)
        yield system


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held until all are found, so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()
