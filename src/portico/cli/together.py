"""A whole system in this process."""

import socket
from collections.abc import Mapping

from portico.cli.banner import administrator_made, show_system
from portico.cli.ports import moved_to
from portico.cli.process import Process, run
from portico.kit.runtime.signals import stop_requested
from portico.kit.runtime.system import System
from portico.kit.settings import Environment
from portico.systems.composition import Composition


def up_together(system: System, environment: Environment, sockets: Mapping[str, socket.socket]) -> int:
    """Serve every part of `system` in this process, each on its socket, until told to stop; the exit status."""
    moved = moved_to(system, sockets)
    process = Process(moved, environment, sockets)

    def ready(whole: Composition) -> None:
        show_system(moved, whole.host.settings, administrator_made(whole))

    async def serve() -> int:
        with stop_requested() as stop:
            await process.serve(stop, ready=ready)
        return 0

    return run(serve())
