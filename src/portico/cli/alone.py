"""One part of a system in this process."""

import socket
from collections.abc import Mapping

from portico.cli.banner import administrator_made, show_administrator
from portico.cli.ports import moved_to
from portico.cli.process import Process, run
from portico.kit.runtime.serving import local_address
from portico.kit.runtime.signals import stop_requested
from portico.kit.runtime.system import System
from portico.kit.settings import Environment
from portico.systems.composition import Composition


def serve_alone(
    system: System, environment: Environment, sockets: Mapping[str, socket.socket], *, migrate: bool
) -> int:
    """Serve the parts that `sockets` names until told to stop; the exit status."""
    moved = moved_to(system, sockets)
    process = Process(moved, environment, sockets, migrating="upgrade" if migrate else "require")

    def ready(whole: Composition) -> None:
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        for name, bound in sockets.items():
            address = local_address(whole.host.settings.host, bound.getsockname()[1])
            console.print(
                f"{name} of {system.name} answers at [cyan]{address}[/]; its documentation is at /docs", soft_wrap=True
            )
        show_administrator(administrator_made(whole))

    async def serve() -> int:
        with stop_requested() as stop:
            await process.serve(stop, ready=ready)
        return 0

    return run(serve())
