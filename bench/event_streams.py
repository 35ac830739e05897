"""Memory and latency of open event streams: `python -m bench event_streams`, or `python bench/event_streams.py 20000`.

Each reader has a token of its own and keeps one stream open. The memory of a reader is the growth of the process's
resident set while the streams are opened, divided by the number of readers. Then one event is sent to all of them.

The gateway runs in the service's process, and in a process of its own. For 20,000 readers, allow that many open files
(`ulimit -n`), and twice as many for a gateway in its own process.
"""

import asyncio
import contextlib
import multiprocessing
import resource
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import psutil
import uvloop

from portico.gateway import Gateway
from portico.kit.auth.access import SignedIn
from portico.kit.auth.tokens import TokenFormat
from portico.kit.auth.verification import KeyVerifier
from portico.kit.foundation.clock import Clock
from portico.kit.http.context import inject
from portico.kit.http.event_stream import EventStreams, format_event, open_event_streams
from portico.kit.http.event_stream_response import EventStream, EventStreamRequest
from portico.kit.http.router import Router
from portico.kit.runtime.host import Host
from portico.kit.runtime.service import Service
from portico.kit.runtime.serving import ConnectionLimits, ServedApp, Servers, bind
from portico.kit.runtime.system import System
from portico.kit.settings import Environment, Settings
from portico.testing.issuer import Issuer

READERS = 2_000
WARM_UP = 100
LIMIT = 16_384  # bytes for each reader
MANY = 1_000_000

router = Router(prefix="/rooms")
Streams = Annotated[EventStreams, inject(EventStreams)]


@router.get("/{room}", streams=True)
async def read_room(room: str, caller: SignedIn, stream: EventStreamRequest) -> EventStream:
    """Stream events."""
    return stream.open(room, lambda reader: reader.send(format_event("first")))


@router.post("/{room}")
async def publish(room: str, streams: Streams) -> None:
    """Send an event to all readers."""
    await streams.publish(room, format_event("news"))


service = Service(
    name="rooms", summary="", module=__name__, routers=[router], resources={EventStreams: open_event_streams}
)


def settings_of(folder: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": f"sqlite:///{folder}/{{service}}.db",
        "SECRET_KEY": "x" * 64,
        "MAX_STREAMS": str(MANY),
        "MAX_STREAMS_EACH": str(MANY),
        "MAX_CONNECTIONS": str(MANY),
        "MAX_CLIENT_SHARE": "1",
        "RATE_LIMIT": f"{MANY}/minute",
    }


async def serve(kind: str, folder: Path, ports: dict[str, int], issuer: Issuer, ready: Any) -> None:
    """Run the service, the gateway or both, and set `ready` when they accept connections."""
    environment = Environment(settings_of(folder))
    settings = environment.read(Settings)
    system = System("rooms", "", gateway=ports["gateway"], services={service: ports["service"]})
    verifier = KeyVerifier(issuer, issuer.form, issuer.clock)
    limits = ConnectionLimits.of(settings, behind_gateway=False)
    apps: dict[str, Any] = {}
    served = []
    async with contextlib.AsyncExitStack() as stack:
        if kind != "gateway":
            host = Host(system, environment, verifier_of=lambda _: verifier, broker=None)
            apps = (await stack.enter_async_context(host)).apps
            served.append(ServedApp("rooms", apps["rooms"], bind("127.0.0.1", ports["service"]), limits))
        if kind != "service":
            addresses = {} if apps else {"rooms": f"http://127.0.0.1:{ports['service']}"}
            gateway = Gateway(system, settings, verifier=verifier, apps=apps, addresses=addresses)
            await stack.enter_async_context(gateway)
            served.append(ServedApp("gateway", gateway, bind("127.0.0.1", ports["gateway"]), limits))
        await stack.enter_async_context(Servers(served, grace=1))
        ready.set()
        await asyncio.Event().wait()


@contextlib.contextmanager
def process(kind: str, folder: Path, ports: dict[str, int], issuer: Issuer) -> Iterator[psutil.Process]:
    """Fork a server process."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    forked = context.Process(target=lambda: uvloop.run(serve(kind, folder, ports, issuer, ready)), daemon=True)
    forked.start()
    if not ready.wait(60):
        raise RuntimeError(f"the {kind} did not start")
    try:
        yield psutil.Process(forked.pid)
    finally:
        forked.kill()
        forked.join()


class Reader(asyncio.Protocol):
    """A client that opens a stream and counts its events."""

    def __init__(self, token: str, events: "Events") -> None:
        self._token = token
        self._events = events

    def connection_made(self, transport: Any) -> None:
        transport.write(
            b"GET /rooms/hall HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
            b"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nCache-Control: no-cache\r\n"
            b"Origin: http://localhost:3000\r\nAuthorization: Bearer " + self._token.encode() + b"\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        self._events.add(data.count(b"data: "))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio passes it
        self._events.lost += 1


class Events:
    """Counts the events that the readers received."""

    def __init__(self) -> None:
        self.count = 0
        self.lost = 0
        self._wanted = 0
        self._reached = asyncio.Event()

    def add(self, number: int) -> None:
        self.count += number
        if self.count >= self._wanted:
            self._reached.set()

    async def reach(self, count: int) -> None:
        """Wait until `count` events have been received."""
        self._wanted = count
        self._reached.clear()
        if self.count < count:
            await asyncio.wait_for(self._reached.wait(), 120)


async def open_streams(tokens: Sequence[str], port: int, events: Events) -> list[asyncio.Transport]:
    """Open a stream with each token, 100 at a time, and wait for the first event of each."""
    loop = asyncio.get_running_loop()
    transports: list[asyncio.Transport] = []
    for start in range(0, len(tokens), 100):
        for token in tokens[start : start + 100]:
            made, _ = await loop.create_connection(partial(Reader, token, events), "127.0.0.1", port)
            transports.append(made)
        await events.reach(len(transports))
    return transports


async def publish_once(port: int, expected: int, events: Events) -> float:
    """Send one event to all readers. Return the seconds until the last reader has received it."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /rooms/hall HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await events.reach(expected)
    seconds = time.perf_counter() - began
    await reader.read()
    writer.close()
    return seconds


async def measure(tokens: Sequence[str], ports: dict[str, int], port: int, processes: Sequence[psutil.Process]) -> str:
    warm = await open_streams(tokens[:WARM_UP], port, Events())
    for transport in warm:
        transport.abort()
    await asyncio.sleep(1)
    before = [each.memory_info().rss for each in processes]
    events = Events()
    began = time.perf_counter()
    transports = await open_streams(tokens, port, events)
    opened = time.perf_counter() - began
    await asyncio.sleep(2)
    grown = [each.memory_info().rss - size for each, size in zip(processes, before, strict=True)]
    last = await publish_once(ports["service"], events.count + len(tokens), events)
    for transport in transports:
        transport.abort()
    sizes = " + ".join(f"{size / len(tokens) / 1024:.1f}" for size in grown)
    return f"{sizes:>14}{len(tokens) / opened:>12,.0f}{last:>16.2f}{events.lost:>8}"


def main(readers: int) -> None:
    wanted = 2 * readers + 1_000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, hard), max(wanted, hard)))
    except ValueError:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        print(f"ulimit -n is {hard}, and {wanted} files may be needed")
    issuer = Issuer(Clock(), TokenFormat(issuer="http://localhost", audience="rooms"))
    tokens = [issuer.token(lasting=3600 * 8) for _ in range(readers)]
    ports = dict(zip(("gateway", "service"), free_ports(2), strict=True))
    print(f"{f'{readers:,} readers':<44}{'KB a reader':>14}{'opened/s':>12}{'last has it, s':>16}{'lost':>8}")
    for name, kinds, port in (
        ("service", ("service",), "service"),
        ("service and gateway in one process", ("both",), "gateway"),
        ("service + gateway", ("service", "gateway"), "gateway"),
    ):
        with TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            processes = [stack.enter_context(process(kind, Path(folder), ports, issuer)) for kind in kinds]
            figures = uvloop.run(measure(tokens, ports, ports[port], processes))
            print(f"{name:<44}{figures}", flush=True)
    print(f"wanted: at most {LIMIT // 1024} KB a reader in each process")


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else READERS)
