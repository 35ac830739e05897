"""The catalog system that the demo starts: one process per part, in a temporary folder, on free ports."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from portico.kit.foundation.errors import CommandError
from portico.servers import free_port

_READY_WITHIN = 30.0  # seconds
_STOPPED_WITHIN = 20.0  # seconds
_POLL = 0.05  # seconds
_UNLIMITED = "1000000/minute"
_NOT_INHERITED = {
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
    """The processes of the catalog system.

    Args:
        folder: for their data and logs.
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
        """Start one process, and wait until it is ready. Raises CommandError."""
        log = self.folder / f"{name}.log"
        process = await start_command(
            "run", name, "--port", str(self.ports[name]), variables=self._variables(), log=log
        )
        self._processes[name] = process
        await wait_until_ready(process, f"{self._address(name)}/health/ready", log=log, within=_READY_WITHIN)

    async def stop(self, name: str) -> None:
        """Stop one process."""
        process = self._processes.pop(name, None)
        if process is not None:
            await stop_command(process, within=_STOPPED_WITHIN)

    async def start_identity(self) -> None:
        await self.start("identity")

    async def stop_identity(self) -> None:
        await self.stop("identity")

    def _address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def _variables(self) -> dict[str, str]:
        addresses = {f"{name.upper()}_SERVICE_URL": self._address(name) for name in ("identity", "catalog")}
        return {**environment_for("catalog", self.folder), **addresses}


def environment_for(system: str, folder: Path) -> dict[str, str]:
    """Return an environment for `system` with its data under `folder`, without rate limits and without other systems' settings."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    limits = {"RATE_LIMIT": _UNLIMITED, "RATE_LIMIT_SIGN_IN": _UNLIMITED, "LOG_LEVEL": "info", "LOG_FORMAT": "json"}
    return {**inherited, **limits, "PORTICO_SYSTEM": system, "DATA_DIR": str(folder / "data")}


async def start_command(*arguments: str, variables: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    """Start a `portico` command in the folder of `log`, to which its output is written.

    Ctrl-C in a terminal does not reach it; the demo stops it.
    """
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "portico", *arguments),
            env=variables,
            cwd=log.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


async def stop_command(process: asyncio.subprocess.Process, *, within: float) -> None:
    """Send SIGTERM to a process, and SIGKILL after `within` seconds."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), within)
    except TimeoutError:
        process.kill()
        await process.wait()


async def wait_until_ready(process: asyncio.subprocess.Process, url: str, *, log: Path, within: float) -> None:
    """Wait until `url` responds with success. Raises CommandError after `within` seconds, or if the process exits."""
    until = time.monotonic() + within
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < until and process.returncode is None:
            try:
                async with session.get(url) as response:
                    if response.ok:
                        return
            except aiohttp.ClientError:
                pass  # it does not listen yet
            await asyncio.sleep(_POLL)
    output = (await asyncio.to_thread(log.read_text, "utf-8", "replace"))[-2000:]
    failure = "exited" if process.returncode is not None else f"was not ready within {within:.0f} s"
    raise CommandError(f"{log.stem} {failure}.", f"Its output:\n{output}")


@asynccontextmanager
async def start_own_system() -> AsyncIterator[OwnSystem]:
    """Start the system; at the end, stop its processes and delete its folder. Raises CommandError."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-demo-")))
        system = OwnSystem(folder, {name: free_port() for name in ("identity", "catalog", "gateway")})
        for name in system.ports:
            stack.push_async_callback(system.stop, name)
            await system.start(name)
        yield system
