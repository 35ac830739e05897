"""A worker process of `portico up --split`: it serves one part of a system.

Standard input is a socket to the parent. The parent sends an `Assignment` with the listening socket. The worker writes
one line when it is ready. The end of the socket means that the parent has exited.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.kit.runtime.fork_server import ForkServer
    from portico.kit.runtime.supervisor import Assignment

_CONTROL = 0  # standard input


def start_fork_server() -> "ForkServer":
    """Start the fork server of worker processes, with the modules that a worker needs.

    Call it before this process opens anything, when it has loaded the system.
    """
    import portico.cli.process  # noqa: F401 the workers share it
    from portico.kit.runtime.fork_server import ForkServer

    return ForkServer.fork()


def main(prepare: "Callable[[Any], object]" = lambda _: None) -> None:
    """Serve the assignment that the parent sends. Ends the process.

    Args:
        prepare: called with the composition when its ports answer, before the parent gets a message.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches every process; the parent decides
    from portico.cli.errors import print_error
    from portico.kit.foundation.garbage_collection import collect_less_often

    collect_less_often()
    from portico.kit.runtime.supervisor import Assignment

    try:
        with socket.socket(fileno=os.dup(_CONTROL)) as control:
            assignment, bound = Assignment.receive(control)
        status = _serve(assignment, bound, prepare)
    except Exception as error:  # noqa: BLE001 the last handler; `print_error` prints the error
        status = print_error(error)
    sys.exit(status)


def _serve(assignment: "Assignment", bound: socket.socket, prepare: "Callable[[Any], object]") -> int:
    from portico.cli.environment import load_system
    from portico.cli.process import Process, run
    from portico.kit.settings import Environment

    environment = Environment.of_process()
    system = load_system(assignment.system).with_ports(assignment.ports)
    return run(serve_until_stopped(Process(system, environment, {assignment.part: bound}), prepare))


async def serve_until_stopped(process: Any, prepare: "Callable[[Any], object]" = lambda _: None) -> int:
    """Serve until SIGTERM, or until the parent has exited. Tell the parent when the ports answer."""
    from portico.cli.banner import new_administrator

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def read_control() -> None:
        if not os.read(_CONTROL, 1):
            loop.remove_reader(_CONTROL)
            stop.set()

    def ready(composition: Any) -> None:
        prepare(composition)
        administrator = new_administrator(composition)
        message = {"administrator": None if administrator is None else asdict(administrator)}
        os.write(_CONTROL, json.dumps(message).encode() + b"\n")

    loop.add_reader(_CONTROL, read_control)
    await process.serve(stop, ready=ready)
    return 0
