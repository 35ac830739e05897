"""Soak test of the gateway: 80 % of its highest rate for some time, while instances of the service are restarted.

Run it with `python bench/soak.py --minutes 30`. It prints memory, open files, latency and failed requests of each
minute. The highest rate is measured for a minute first, with the same restarts. All requests are safe (GET), so the
restart of one of the two instances must not fail any. One core runs the gateway, the other one everything else.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from gateway import CONNECTIONS, LOADING, SERVERS, SERVING, SMALL, free_port, running

SHARE = 0.8
WARM_UP = 5.0
SAMPLES, SAMPLE = 12, 5.0  # samples of the highest rate, and seconds of each; their median is used
RESTART_EVERY = 30.0
DOWN = 2.0  # seconds that an instance is stopped
TICK = 0.005
MAX_WAITING = 10_000
OK = b"HTTP/1.1 200 "


@dataclass
class Figures:
    """Latencies and failures during one interval."""

    latencies: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    not_sent: int = 0  # because MAX_WAITING requests waited for a connection

    def line(self, seconds: float) -> str:
        ordered = sorted(self.latencies)
        p50, p99 = (ordered[int(len(ordered) * share)] * 1e3 if ordered else 0.0 for share in (0.5, 0.99))
        failed = sum(self.failed.values())
        counts = f"{self.not_sent:>10}{failed:>8}  {dict(self.failed) or ''}"
        return f"{len(ordered) / seconds:>11,.0f}{p50:>9.1f}{p99:>9.1f}{counts}".rstrip()


class Load:
    """Connections to the gateway. Each has at most one request in flight.

    Args:
        port: port of the gateway.
        request: bytes of the request.
    """

    def __init__(self, port: int, request: bytes) -> None:
        self.port, self.request = port, request
        self.free: deque[Caller] = deque()
        self.due: deque[float] = deque()
        self.figures = Figures()
        self.is_paced = self.is_over = False
        self.opening: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        for _ in range(CONNECTIONS):
            await self.connect()

    async def connect(self) -> None:
        _, caller = await asyncio.get_running_loop().create_connection(lambda: Caller(self), "127.0.0.1", self.port)
        self.ready(caller)

    def reconnect(self) -> None:
        """Replace a lost connection, unless the soak is over."""
        if not self.is_over:
            self.opening.add(task := asyncio.get_running_loop().create_task(self.connect()))
            task.add_done_callback(self.opening.discard)

    def ready(self, caller: "Caller") -> None:
        """Send the next due request on a connection that has none in flight."""
        if not self.is_paced:
            caller.send(time.perf_counter())
        elif self.due:
            caller.send(self.due.popleft())
        else:
            self.free.append(caller)

    def request_due(self, at: float) -> None:
        """Send a request that is due, or queue it. Its latency includes the time that it waits for a connection."""
        if self.free:
            self.free.popleft().send(at)
        elif len(self.due) < MAX_WAITING:
            self.due.append(at)
        else:
            self.figures.not_sent += 1

    def take(self) -> Figures:
        figures, self.figures = self.figures, Figures()
        return figures

    async def run(self, rate: float, seconds: float) -> None:
        """Send requests at a constant rate."""
        began, sent = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - began) < seconds:
            while sent < elapsed * rate:
                self.request_due(began + sent / rate)
                sent += 1
            await asyncio.sleep(TICK)


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self.load, self.received, self.since = load, b"", 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, since: float) -> None:
        self.since, self.received = since, b""
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.received.endswith(b"}"):
            return
        figures = self.load.figures
        if self.received.startswith(OK):
            figures.latencies.append(time.perf_counter() - self.since)
        else:
            figures.failed[self.received[9:12].decode()] += 1
        self.load.ready(self)

    def connection_lost(self, _: Exception | None) -> None:
        if self in self.load.free:
            self.load.free.remove(self)
        else:
            self.load.figures.failed["connection lost"] += 1
        self.load.reconnect()


def instance(port: int) -> subprocess.Popen[bytes]:
    command = ["taskset", "-c", str(LOADING % (os.cpu_count() or 1)), sys.executable, str(SERVERS), "behind"]
    return subprocess.Popen([*command, str(port), str(port), "none"])


async def restart(instances: dict[int, subprocess.Popen[bytes]]) -> None:
    """Restart one instance after the other until cancelled."""
    while True:
        for port in list(instances):
            await asyncio.sleep(RESTART_EVERY - DOWN)
            instances[port].kill()
            instances[port].wait()
            await asyncio.sleep(DOWN)
            instances[port] = instance(port)


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def memory(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def soak(port: int, pid: int, token: str, minutes: float, instances: dict[int, subprocess.Popen[bytes]]) -> None:
    request = f"GET {SMALL} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    load = Load(port, request)
    await load.open()
    await asyncio.sleep(WARM_UP)
    load.take()
    restarting = asyncio.create_task(restart(instances))
    rates = []
    for _ in range(SAMPLES):
        await asyncio.sleep(SAMPLE)
        rates.append(len(load.take().latencies) / SAMPLE)
    highest = statistics.median(rates)
    load.is_paced = True
    rate = highest * SHARE
    print(f"highest rate {highest:,.0f}/s; soak of {minutes:g} minutes at {rate:,.0f}/s, {CONNECTIONS} connections")
    print(
        f"{'minute':>6}{'MiB':>9}{'files':>7}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'not sent':>10}{'failed':>8}",
        flush=True,
    )
    sizes = []
    part = min(60.0, minutes * 60)
    for number in range(max(1, round(minutes * 60 / part))):
        await load.run(rate, part)
        sizes.append(memory(pid))
        files = open_files(pid)
        print(f"{number + 1:>6}{sizes[-1]:>9.1f}{files:>7}{load.take().line(part)}", flush=True)
    restarting.cancel()
    load.is_over = True
    half = len(sizes) // 2
    if half:
        growth = statistics.mean(sizes[half:]) - statistics.mean(sizes[:half])
        print(f"memory of the second half against the first: {growth:+.1f} MiB")


def kill_all(instances: dict[int, subprocess.Popen[bytes]]) -> None:
    for each in instances.values():
        each.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ports = [free_port(), free_port()]
        instances = {port: instance(port) for port in ports}
        stack.callback(kill_all, instances)
        tokens = Path(folder, "tokens")
        port = free_port()
        command = [sys.executable, str(SERVERS), "gateway", str(port), ",".join(map(str, ports)), str(tokens)]
        pid = stack.enter_context(running(command, SERVING, port))
        os.sched_setaffinity(0, {LOADING % (os.cpu_count() or 1)})
        token = tokens.read_text().split("\n", 1)[0]
        uvloop.run(soak(port, pid, token, minutes, instances))


if __name__ == "__main__":
    main()
