"""What `portico up --split` runs in each process: one part of the system, on a socket that the parent listens on.

Standard input is a socket to the parent. Its end means that the parent is gone, however it went; one line over it
tells the parent that this part answers.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from typing import Any

_CONTROL = 0  # standard input


@dataclass(frozen=True)
class Assignment:
    """What a child is to serve: `part` of `system`, on the listening socket with number `descriptor`."""

    system: str
    part: str
    descriptor: int
    ports: dict[str, int]

    def dumped(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loaded(cls, text: str) -> "Assignment":
        return cls(**json.loads(text))


def main() -> None:
    """Serve what the first argument says. Ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all; the parent decides
    from portico.cli.errors import present

    try:
        status = _serve(Assignment.loaded(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 the last one to see it; `present` tells all of it
        status = present(error)
    sys.exit(status)


def _serve(assignment: Assignment) -> int:
    from portico.cli.ports import chosen_system
    from portico.cli.process import Process, run
    from portico.kit.settings import Environment, Settings

    environment = Environment.of_process()
    system = chosen_system(assignment.system, environment.read(Settings)).moved(assignment.ports)
    bound = socket.socket(fileno=assignment.descriptor)
    return run(_until_told(Process(system, environment, {assignment.part: bound})))


async def _until_told(process: Any) -> int:
    from portico.cli.banner import administrator_made

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def parent_spoke() -> None:
        if not os.read(_CONTROL, 1):
            loop.remove_reader(_CONTROL)
            stop.set()

    def ready(whole: Any) -> None:
        administrator = administrator_made(whole)
        told = {"administrator": None if administrator is None else asdict(administrator)}
        os.write(_CONTROL, json.dumps(told).encode() + b"\n")

    loop.add_reader(_CONTROL, parent_spoke)
    await process.serve(stop, ready=ready)
    return 0


if __name__ == "__main__":
    main()
