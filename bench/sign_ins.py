"""Latency of other calls while many clients sign in, compared with an idle system.

The catalog system runs in one process, as `portico up` does. Four callers list products and read their account at a
constant rate. In every second round 32 more clients sign in as fast as the server allows and honour `Retry-After`. Run
it with `python bench/sign_ins.py`.
"""

import asyncio
import os
import secrets
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

ROUNDS = 5
SECONDS = 4.0
CALLERS = 4
PAUSE = 0.01  # seconds between two calls of one caller
SIGNING_IN = 32
GOAL = 2.0  # times idle


@dataclass
class Measured:
    """Latencies (seconds) of calls."""

    seconds: list[float] = field(default_factory=list)

    def at(self, share: float) -> float:
        """Return the latency (ms) that this share of the calls did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


@asynccontextmanager
async def system() -> AsyncIterator[dict[str, str]]:
    """Run the catalog system in a process of its own, on free ports. Yield its addresses by name."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    gateway, identity, catalog = (each.getsockname()[1] for each in held)
    for each in held:
        each.close()
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "portico", "up", "catalog", "--gateway-port", str(gateway)),
            *("--port", f"identity={identity}", "--port", f"catalog={catalog}"),
            env={**os.environ, "DATA_DIR": folder, "RATE_LIMIT": "1000000/minute", "LOG_LEVEL": "warning"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            ports = {"gateway": gateway, "identity": identity, "catalog": catalog}
            addresses = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
            await until_up(addresses["gateway"])
            yield addresses
        finally:
            process.terminate()
            await process.wait()


async def until_up(address: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(400):
            try:
                async with session.get(f"{address}/health") as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
    raise SystemExit("the system did not start")


async def call(session: aiohttp.ClientSession, address: str, token: str, measured: Measured, until: float) -> None:
    headers = {"authorization": f"Bearer {token}"}
    paths = ("/products?limit=20", "/auth/me", "/health/ready")
    number = 0
    while time.perf_counter() < until:
        began = time.perf_counter()
        async with session.get(address + paths[number % len(paths)], headers=headers) as answer:
            await answer.read()
            if not answer.ok:
                raise SystemExit(f"{answer.url} returned {answer.status}")
        measured.seconds.append(time.perf_counter() - began)
        number += 1
        await asyncio.sleep(PAUSE)


async def sign_in(
    session: aiohttp.ClientSession, address: str, credentials: dict[str, str], until: float
) -> tuple[int, int]:
    """Sign in repeatedly. Return how often it succeeded, and how often it was refused (503, 429)."""
    done = refused = 0
    while time.perf_counter() < until:
        async with session.post(f"{address}/login", json=credentials) as answer:
            await answer.read()
            if answer.ok:
                done += 1
            else:
                refused += 1
                await asyncio.sleep(
                    min(float(answer.headers.get("retry-after", "1")), max(0.0, until - time.perf_counter()))
                )
    return done, refused


async def one_round(
    session: aiohttp.ClientSession, addresses: dict[str, str], token: str, credentials: dict[str, str], clients: int
) -> tuple[Measured, int, int]:
    measured, until = Measured(), time.perf_counter() + SECONDS
    callers = [call(session, addresses["gateway"], token, measured, until) for _ in range(CALLERS)]
    sign_ins = [sign_in(session, addresses["identity"], credentials, until) for _ in range(clients)]
    results = await asyncio.gather(*sign_ins, *callers)
    counted = [each for each in results if each is not None]
    return measured, sum(done for done, _ in counted), sum(refused for _, refused in counted)


async def account(session: aiohttp.ClientSession, address: str) -> tuple[dict[str, str], str]:
    """Create an account. Return its credentials and a token: an account's newer sessions end its older ones."""
    made = {"email": f"{secrets.token_hex(6)}@example.com", "password": secrets.token_urlsafe(16)}
    async with session.post(f"{address}/register", json=made) as answer:
        answer.raise_for_status()
    async with session.post(f"{address}/login", json=made) as answer:
        return made, (await answer.json())["access_token"]


async def measure() -> None:
    idle: list[Measured] = []
    busy: list[Measured] = []
    rates: list[float] = []
    refusals = 0
    async with system() as addresses, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        _, token = await account(session, addresses["identity"])
        credentials, _ = await account(session, addresses["identity"])
        for _ in range(ROUNDS):
            calm, _done, _refused = await one_round(session, addresses, token, credentials, 0)
            loud, done, refused = await one_round(session, addresses, token, credentials, SIGNING_IN)
            idle.append(calm)
            busy.append(loud)
            rates.append(done / SECONDS)
            refusals += refused
    show(idle, busy, rates, refusals)


def show(idle: list[Measured], busy: list[Measured], rates: list[float], refusals: int) -> None:
    def middle(rounds: list[Measured], share: float) -> float:
        return statistics.median(each.at(share) for each in rounds)

    print(f"{'other calls':24s} {'idle':>10s} {'sign-ins':>12s} {'ratio':>8s}")
    for label, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        quiet, loud = middle(idle, share), middle(busy, share)
        print(f"{label:24s} {quiet:7.2f} ms {loud:9.2f} ms {loud / quiet:8.2f}")
    print(f"sign-ins: {statistics.median(rates):.1f} per second, {refusals} refused")
    print(f"goal: p99 at most {GOAL} times idle")


if __name__ == "__main__":
    asyncio.run(measure())
