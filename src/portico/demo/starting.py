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

from portico.demo.errors import DemoFailed

_UP_WITHIN = 30.0  # seconds
_DOWN_WITHIN = 20.0  # seconds
_CLOSELY = 0.05  # seconds between two looks
_GENEROUS = "1000000/minute"
_OURS = {
    *(
        "DATABASE_URL",
        "DATABASE_REPLICA_URL",
        "REDIS_URL",
        "RABBITMQ_URL",
        "NATS_URL",
        "KAFKA_URL",
        "SMTP_URL",
        "PRIVATE_SERVERS",
    ),
    *(
        "SECRET_KEY",
        "SERVICE_SECRET",
        "PAYMENTS_WEBHOOK_SECRET",
        "HOST",
        "DEBUG",
        "TOKEN_VERIFICATION",
        "JWT_ALGORITHM",
    ),
}


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
        """Start one process, and wait until it may get traffic. Raises DemoFailed."""
        log = self.folder / f"{name}.log"
        process = await begin("run", name, "--port", str(self.ports[name]), variables=self._variables(), log=log)
        self._processes[name] = process
        await wait_until_up(process, f"{self._address(name)}/health/ready", log=log, within=_UP_WITHIN)

    async def stop(self, name: str) -> None:
        """End one process as Ctrl-C would, or harder where it does not."""
        process = self._processes.pop(name, None)
        if process is not None:
            await end(process, within=_DOWN_WITHIN)

    async def start_identity(self) -> None:
        await self.start("identity")

    async def stop_identity(self) -> None:
        await self.stop("identity")

    def _address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def _variables(self) -> dict[str, str]:
        addresses = {f"{name.upper()}_SERVICE_URL": self._address(name) for name in ("identity", "catalog")}
        return {**unlimited("catalog", self.folder), **addresses}


def unlimited(system: str, folder: Path) -> dict[str, str]:
    """An environment for `system` alone, with its data below `folder`, and no limit in the way of a demo."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    limits = {"RATE_LIMIT": _GENEROUS, "RATE_LIMIT_SIGN_IN": _GENEROUS, "LOG_LEVEL": "info", "LOG_FORMAT": "json"}
    return {**kept, **limits, "PORTICO_SYSTEM": system, "DATA_DIR": str(folder / "data")}


async def begin(*arguments: str, variables: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    """Begin a `portico` command that goes on; what it says goes into `log`, beside which it runs.

    A terminal's Ctrl-C is for the demo, which ends it.
    """
    with log.open("ab") as said:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "portico", *arguments),
            env=variables,
            cwd=log.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


async def end(process: asyncio.subprocess.Process, *, within: float) -> None:
    """End a process as Ctrl-C would, or harder where that takes longer than `within` seconds."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), within)
    except TimeoutError:
        process.kill()
        await process.wait()


async def wait_until_up(process: asyncio.subprocess.Process, url: str, *, log: Path, within: float) -> None:
    """Wait until `url` answers well. Raises DemoFailed after `within` seconds, or where the process ends."""
    until = time.monotonic() + within
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < until and process.returncode is None:
            try:
                async with session.get(url) as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientError:
                pass  # it does not listen yet
            await asyncio.sleep(_CLOSELY)
    said = (await asyncio.to_thread(log.read_text, "utf-8", "replace"))[-2000:]
    ended = "ended" if process.returncode is not None else f"did not come up within {within:.0f} s"
    raise DemoFailed(f"{log.stem} {ended}.", f"It said:\n{said}")


@asynccontextmanager
async def own_system() -> AsyncIterator[OwnSystem]:
    """The system, up; its processes ended and its folder removed at the end. Raises DemoFailed."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-demo-")))
        system = OwnSystem(folder, dict(zip(("identity", "catalog", "gateway"), free_ports(3), strict=True)))
        for name in system.ports:
            stack.push_async_callback(system.stop, name)
            await system.start(name)
        yield system


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held until all are found, so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()
