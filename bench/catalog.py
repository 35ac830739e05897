"""Lists of 100,000 products on PostgreSQL, compared with a FastAPI service that uses the synchronous SQLAlchemy ORM.

Run it with `python bench/catalog.py`; it takes two minutes and needs psycopg, the driver of the ORM service. One core
runs the server, the other one the client. Rounds are interleaved: compare the ratios.
"""

import asyncio
import itertools
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

ROUNDS = 5
SECONDS = 1.0
SAMPLES = 25  # requests for each median
CONNECTIONS = 16
SERVING, LOADING = 0, 1
SEARCHES = {
    "a word in half of the products": "quality",
    "a word in a tenth": "lamp",
    "a word in one of 10,000": "unicorn",
    "two common words": "quality red",
    "a common and a rare word": "quality unicorn",
    "a common and an unknown word": "quality zebra",
}

Paths = Iterator[str]
Measure = Callable[[], Awaitable[float]]


async def serve(port: int, caching: str) -> None:
    """Serve only catalog, as `portico run catalog` does.

    Args:
        port: port of the server.
        caching: "answers" caches everything, "totals" only the total counts, "nothing" caches nothing.
    """
    from portico.kit.auth.tokens import TokenFormat
    from portico.kit.auth.verification import KeyVerifier
    from portico.kit.cache.memory import MemoryCache
    from portico.kit.foundation.clock import Clock
    from portico.kit.foundation.garbage_collection import tune_garbage_collection
    from portico.kit.runtime.host import Host
    from portico.kit.runtime.serving import ServedApp, Servers, bind
    from portico.kit.settings import Environment
    from portico.services.catalog import service
    from portico.testing.issuer import Issuer
    from portico.testing.running_service import system_of

    class TotalsCache(MemoryCache):
        async def set(self, key: str, value: bytes, ttl: float) -> None:
            if caching == "totals" and len(value) < 20:
                await super().set(key, value, ttl)

    clock, form = Clock(), TokenFormat(issuer="portico", audience="catalog")
    host = Host(
        system_of(service),
        Environment(dict(os.environ)),
        verifier_of=lambda _: KeyVerifier(Issuer(clock, form), form, clock),
        only=["catalog"],
    )
    async with host:
        if caching != "answers":
            host.contexts["catalog"].cache = TotalsCache()
        async with Servers([ServedApp("catalog", host.apps["catalog"], bind("127.0.0.1", port))], grace=1.0):
            tune_garbage_collection()
            await asyncio.to_thread(sys.stdin.read)


class Client:
    """One connection that sends a request, reads the response, and sends the next request."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def get(self, path: str) -> dict[str, str]:
        """Return the headers of the response."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.split("\r\n")
        if " 200 " not in status:
            raise RuntimeError(f"{path}: {status}")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        await self._reader.readexactly(int(headers["content-length"]))
        return headers


@contextmanager
def serving(*command: str, **environ: str) -> Iterator[psutil.Process]:
    """Run a server in a process of its own, on its own core, until the block ends."""
    pinned = ["taskset", "-c", str(SERVING), sys.executable, *command]
    with subprocess.Popen(
        pinned, stdin=subprocess.PIPE, env={**os.environ, **environ}, cwd=Path(__file__).parent
    ) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


@dataclass(frozen=True)
class Server:
    """A running server and the processor time that it has used."""

    port: int
    process: psutil.Process

    @property
    def seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


async def ready(port: int) -> None:
    """Wait until the server on `port` answers."""
    for _ in range(150):
        try:
            async with Client(port) as client:
                await client.get("/products?limit=1")
                return
        except (OSError, asyncio.IncompleteReadError, RuntimeError):
            await asyncio.sleep(0.1)
    raise RuntimeError(f"no server responds on port {port}")


def throughput(server: Server, paths: Paths, *, per: str) -> Measure:
    """Measure responses per second of wall clock, or per second of the server's processor time (`per="core"`).

    Processor time is more reliable when other programs use the machine.
    """

    async def measure() -> float:
        done = 0
        began, spent = time.perf_counter(), server.seconds
        ends = began + SECONDS

        async def repeat() -> None:
            nonlocal done
            async with Client(server.port) as client:
                while time.perf_counter() < ends:
                    await client.get(next(paths))
                    done += 1

        await asyncio.gather(*(repeat() for _ in range(CONNECTIONS)))
        return done / (server.seconds - spent if per == "core" else time.perf_counter() - began)

    return measure


def latency(server: Server, paths: Paths) -> Measure:
    """Measure the median latency (ms) of sequential requests."""

    async def measure() -> float:
        times = []
        async with Client(server.port) as client:
            for _ in range(SAMPLES):
                began = time.perf_counter()
                await client.get(next(paths))
                times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)

    return measure


async def interleaved(measures: dict[str, Measure]) -> dict[str, float]:
    """Return the median of each measure over interleaved rounds."""
    for measure in measures.values():
        await measure()
    rounds = [{name: await measure() for name, measure in measures.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(each[name] for each in rounds) for name in measures}


def table(title: str, unit: str, figures: dict[str, float], bases: dict[str, str]) -> None:
    """Print the figures and their ratio to each base; `bases` maps a column's heading to the name of its base."""
    print(f"\n{title:<46}{unit:>10}" + "".join(f"{heading:>20}" for heading in bases))
    for name, figure in figures.items():
        ratios = "".join(f"{figure / figures[base]:>20.2f}" for base in bases.values())
        print(f"{name:<46}{figure:>10.2f}{ratios}")


async def lists(answers: Server, totals: Server, nothing: Server, orm: Server) -> None:
    # Several pages, because Portico computes one response for concurrent identical requests.
    paths = [f"/products?limit=20&skip={20 * number}" for number in range(4 * CONNECTIONS)]
    uncounted = [f"{path}&counting=false" for path in paths]
    works = {
        "FastAPI and ORM, with the total": (orm, paths),
        "FastAPI and ORM, without": (orm, uncounted),
        "Portico, nothing cached": (nothing, paths),
        "Portico, total cached": (totals, paths),
        "Portico, response cached": (answers, paths),
    }
    bases = {"of ORM": "FastAPI and ORM, with the total", "of ORM, no total": "FastAPI and ORM, without"}
    for per in ("core", "second"):
        measures = {
            name: throughput(server, itertools.cycle(pages), per=per) for name, (server, pages) in works.items()
        }
        table(f"list of 20, per {per}", "/s", await interleaved(measures), bases)


async def searches(totals: Server, nothing: Server, orm: Server) -> None:
    measures = {
        "FastAPI and ORM, a word in half of the products": latency(
            orm, itertools.repeat("/products?limit=20&search=quality")
        )
    }
    for kind, words in SEARCHES.items():
        path = f"/products?limit=20&search={words.replace(' ', '+')}"
        measures[f"{kind}"] = latency(totals, itertools.repeat(path))
        measures[f"{kind}, counted"] = latency(nothing, itertools.repeat(path))
        measures[f"{kind}, by price"] = latency(totals, itertools.repeat(f"{path}&sort=price"))
    table("search, p50", "ms", await interleaved(measures), {})


async def deep_pages(totals: Server) -> None:
    paths = ["/products?limit=20"]
    async with Client(totals.port) as client:
        while len(paths) < 1000:
            links = (await client.get(paths[-1]))["link"].split(", ")
            following = next(link for link in links if 'rel="next"' in link)
            paths.append(following[1 : following.index(">")])
    near, far = itertools.repeat(paths[0]), itertools.repeat(paths[999])
    figures = await interleaved({"page 1": latency(totals, near), "page 1,000": latency(totals, far)})
    table("page of 20 by cursor, p50", "ms", figures, {"of page 1": "page 1"})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def measured(url: str) -> None:
    """Run the benchmark. `url` is the address of an empty database named bench_catalog."""
    from product_data import fill

    secret = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "SERVICE_SECRET")}
    ours = {**secret, "DATABASE_URL": url.replace("bench_catalog", "bench_{service}")}
    theirs = {"DATABASE_URL": url.replace("postgresql:", "postgresql+psycopg:")}
    orm = ("-m", "uvicorn", "--no-access-log", "--log-level", "warning", "peers.orm_catalog:app", "--port")
    with ExitStack() as running:

        async def started(*command: str, **environ: str) -> Server:
            port = free_port()
            process = running.enter_context(serving(*(part or str(port) for part in command), **environ))
            await ready(port)
            return Server(port, process)

        servers = {
            caching: await started(__file__, "", caching, **ours) for caching in ("answers", "totals", "nothing")
        }
        servers["orm"] = await started(*orm, "", **theirs)
        await fill(url)
        await asyncio.sleep(31)  # until cached responses of the empty tables have expired
        os.sched_setaffinity(0, {LOADING})
        await lists(**servers)
        await searches(servers["totals"], servers["nothing"], servers["orm"])
        await deep_pages(servers["totals"])


def main() -> None:
    import uvloop

    from portico.servers import PostgreSQLServer

    if len(sys.argv) > 1:
        uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
        return
    with PostgreSQLServer() as server:
        uvloop.run(measured(server.create_database("bench_catalog")))


if __name__ == "__main__":
    main()
