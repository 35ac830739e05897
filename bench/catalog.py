"""Lists of products beside the usual way, on PostgreSQL with 100,000 products.

Run it with `python bench/catalog.py`; it takes two minutes and needs psycopg, the driver of the usual way. One core
serves, the other asks. Rounds of all are interleaved, and only the ratios count.
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
ASKED = 25
CONNECTIONS = 16
SERVING, LOADING = 0, 1
SEARCHES = {
    "a word of half of all": "quality",
    "a word of a tenth": "lamp",
    "a word of one in 10,000": "unicorn",
    "two common words": "quality red",
    "a common and a rare one": "quality unicorn",
    "a common one and none": "quality zebra",
}

Paths = Iterator[str]
Measure = Callable[[], Awaitable[float]]


async def serve(port: int, keeping: str) -> None:
    """Catalog alone, as `portico run catalog` serves it: keeping answers, or "totals" only, or "nothing"."""
    from portico.kit.auth.tokens import TokenFormat
    from portico.kit.auth.verification import KeyVerifier
    from portico.kit.cache.memory import MemoryCache
    from portico.kit.foundation.clock import Clock
    from portico.kit.runtime.host import Host
    from portico.kit.runtime.serving import ServedApp, Servers, bind, tune_garbage_collection
    from portico.kit.settings import Environment
    from portico.services.catalog import service
    from portico.testing.issuer import Issuer
    from portico.testing.running_service import system_of

    class Forgetful(MemoryCache):
        async def set(self, key: str, value: bytes, ttl: float) -> None:
            if keeping == "totals" and len(value) < 20:
                await super().set(key, value, ttl)

    clock, form = Clock(), TokenFormat(issuer="portico", audience="catalog")
    host = Host(
        system_of(service),
        Environment(dict(os.environ)),
        verifier_of=lambda _: KeyVerifier(Issuer(clock, form), form, clock),
        only=["catalog"],
    )
    async with host:
        if keeping != "answers":
            host.contexts["catalog"].cache = Forgetful()
        async with Servers([ServedApp("catalog", host.apps["catalog"], bind("127.0.0.1", port))], grace=1.0):
            tune_garbage_collection()
            await asyncio.to_thread(sys.stdin.read)


class Client:
    """One connection that asks, reads the answer, and asks again."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def get(self, path: str) -> dict[str, str]:
        """The headers of the answer."""
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
    """A server in a process of its own, on its core, until the block ends."""
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
    """A server that runs, and the processor time that it has used."""

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
    raise RuntimeError(f"nothing answers on {port}")


def throughput(server: Server, paths: Paths, *, per: str) -> Measure:
    """Requests that the server answers in a second of time, or in one of its own processor time (`per` "core").

    The latter is what counts where others use the machine at the same time.
    """

    async def measure() -> float:
        done = 0
        began, spent = time.perf_counter(), server.seconds
        ends = began + SECONDS

        async def ask() -> None:
            nonlocal done
            async with Client(server.port) as client:
                while time.perf_counter() < ends:
                    await client.get(next(paths))
                    done += 1

        await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
        return done / (server.seconds - spent if per == "core" else time.perf_counter() - began)

    return measure


def latency(server: Server, paths: Paths) -> Measure:
    """Median milliseconds of an answer, one request at a time."""

    async def measure() -> float:
        times = []
        async with Client(server.port) as client:
            for _ in range(ASKED):
                began = time.perf_counter()
                await client.get(next(paths))
                times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)

    return measure


async def interleaved(measures: dict[str, Measure]) -> dict[str, float]:
    """The median of each over rounds that take turns."""
    for measure in measures.values():
        await measure()
    rounds = [{name: await measure() for name, measure in measures.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(each[name] for each in rounds) for name in measures}


def table(title: str, unit: str, figures: dict[str, float], bases: dict[str, str]) -> None:
    """Print the figures, and their ratio to each of `bases`, by the heading of its column."""
    print(f"\n{title:<46}{unit:>10}" + "".join(f"{heading:>20}" for heading in bases))
    for name, figure in figures.items():
        ratios = "".join(f"{figure / figures[base]:>20.2f}" for base in bases.values())
        print(f"{name:<46}{figure:>10.2f}{ratios}")


async def lists(answers: Server, totals: Server, nothing: Server, usual: Server) -> None:
    # Several pages, since Portico makes one answer for all who ask for the same at once
    paths = [f"/products?limit=20&skip={20 * number}" for number in range(4 * CONNECTIONS)]
    uncounted = [f"{path}&counting=false" for path in paths]
    works = {
        "usual way, with the total": (usual, paths),
        "usual way, without": (usual, uncounted),
        "Portico, nothing kept": (nothing, paths),
        "Portico, the total kept": (totals, paths),
        "Portico, the answer kept": (answers, paths),
    }
    bases = {"of usual": "usual way, with the total", "of usual, no total": "usual way, without"}
    for per in ("core", "second"):
        measures = {
            name: throughput(server, itertools.cycle(pages), per=per) for name, (server, pages) in works.items()
        }
        table(f"list of 20, per {per}", "/s", await interleaved(measures), bases)


async def searches(totals: Server, nothing: Server, usual: Server) -> None:
    measures = {
        "usual way, a word of half of all": latency(usual, itertools.repeat("/products?limit=20&search=quality"))
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
    """`url` is of an empty database that is named bench_catalog."""
    from product_data import fill

    secret = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "SERVICE_SECRET")}
    ours = {**secret, "DATABASE_URL": url.replace("bench_catalog", "bench_{service}")}
    theirs = {"DATABASE_URL": url.replace("postgresql:", "postgresql+psycopg:")}
    usual = ("-m", "uvicorn", "--no-access-log", "--log-level", "warning", "peers.usual_catalog:app", "--port")
    with ExitStack() as running:

        async def started(*command: str, **environ: str) -> Server:
            port = free_port()
            process = running.enter_context(serving(*(part or str(port) for part in command), **environ))
            await ready(port)
            return Server(port, process)

        servers = {
            keeping: await started(__file__, "", keeping, **ours) for keeping in ("answers", "totals", "nothing")
        }
        servers["usual"] = await started(*usual, "", **theirs)
        await fill(url)
        await asyncio.sleep(31)  # until the answers that were kept of the empty tables end
        os.sched_setaffinity(0, {LOADING})
        await lists(**servers)
        await searches(servers["totals"], servers["nothing"], servers["usual"])
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
