"""Time from exec to the first healthy response, with memory and processor time: `python bench/start.py [rounds]`.

The whole catalog system runs in one process, in one process for each part, and each service alone. All are embedded,
in a folder of their own. The first start includes migrations, keys and the first administrator; the second start does
not. The peer is the import of the libraries that Portico is built on.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from portico.testing.commands import Command, free_ports, is_healthy

MEBIBYTE = 1 << 20
PARTS = ("gateway", "identity", "catalog")
LIBRARIES = "fastapi, sqlalchemy, aiohttp, pydantic"


@dataclass(frozen=True)
class Start:
    """One start.

    Args:
        seconds: until healthy.
        memory: of all its processes, in bytes; memory that they share counts once (PSS) on Linux.
        processor: processor time (seconds) of all its processes until healthy.
        stopping: seconds until it has stopped.
    """

    seconds: float
    memory: int
    processor: float
    stopping: float


def start(folder: Path, arguments: Sequence[str], port: int) -> Start:
    """Start a command, wait until it is healthy, and stop it."""
    address = f"http://127.0.0.1:{port}"
    began = time.perf_counter()
    with Command(folder, *arguments, preload=False) as command:
        while not is_healthy(address):
            if command.process.poll() is not None:
                raise SystemExit(command.err)
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        family = [psutil.Process(command.process.pid), *command.children]
        memory = sum(map(memory_of, family))
        processor = sum(sum(each.cpu_times()[:2]) for each in family)
        stopping = time.perf_counter()
        command.stop()
        return Start(seconds, memory, processor, time.perf_counter() - stopping)


def memory_of(process: psutil.Process) -> int:
    """Return the memory of a process in bytes."""
    return int(process.memory_full_info().pss if psutil.LINUX else process.memory_info().rss)


def library_imports() -> float:
    """Return the seconds that a new process needs to import the libraries."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {LIBRARIES}"], check=True)
    return time.perf_counter() - began


def cases() -> dict[str, tuple[list[str], int]]:
    """Return the commands to start, each with the port of its health check."""
    ports = dict(zip(PARTS, free_ports(len(PARTS)), strict=True))
    places = [f"--port={name}={port}" for name, port in ports.items()]
    return {
        "up catalog": (["up", "catalog", *places], ports["gateway"]),
        "up catalog --split": (["up", "catalog", "--split", *places], ports["gateway"]),
        "run identity": (["run", "identity", f"--port={ports['identity']}"], ports["identity"]),
        "run catalog": (["run", "catalog", f"--port={ports['catalog']}"], ports["catalog"]),
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found: dict[str, dict[str, list[Start]]] = {name: {"first": [], "second": []} for name in cases()}
    imports = []
    for _ in range(rounds):
        imports.append(library_imports())
        for name, (arguments, port) in cases().items():
            with TemporaryDirectory() as folder:
                for which in ("first", "second"):
                    found[name][which].append(start(Path(folder), arguments, port))
    peer = statistics.median(imports)
    print(f"medians of {rounds}; ratio: to the import of {LIBRARIES}, {peer:.2f} s")
    print(f"{'':20} {'first start':>12} {'second':>8} {'ratio':>6} {'processor':>10} {'memory':>9} {'stop':>7}")
    for name, starts in found.items():
        first, second = (statistics.median(each.seconds for each in starts[which]) for which in ("first", "second"))
        memory = statistics.median(each.memory for each in starts["second"]) / MEBIBYTE
        processor = statistics.median(each.processor for each in starts["second"])
        stopping = statistics.median(each.stopping for each in starts["second"])
        times = f"{first:10.2f} s {second:6.2f} s {second / peer:6.2f} {processor:8.2f} s"
        print(f"{name:20} {times} {memory:5.0f} MiB {stopping:5.2f} s")
        case = {"case": name, "first": first, "second": second, "imports": peer, "processor": processor}
        print(json.dumps({**case, "mebibytes": memory}), file=sys.stderr)


if __name__ == "__main__":
    main()
