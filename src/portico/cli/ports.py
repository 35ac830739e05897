"""Which system a command is about, and the sockets that its parts listen on."""

import os
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from portico.cli.errors import CommandError
from portico.kit.runtime.serving import bind
from portico.kit.runtime.system import System
from portico.kit.runtime.system_loader import find_system
from portico.kit.settings import Environment, Settings

GATEWAY = "gateway"
DEFAULT_SYSTEM = "commerce"
_HIGHEST = 65_535


def chosen_system(name: str | None, settings: Settings) -> System:
    """Return the system called `name`, else the one in PORTICO_SYSTEM, else commerce. Raises NoSuchSystem.

    A team's own system may be imported from the working directory.
    """
    folder = os.getcwd()  # noqa: PTH109 what sys.path holds are strings
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return find_system(system_name(name, settings))


def system_name(name: str | None, settings: Settings) -> str:
    """Return `name`, else the value of PORTICO_SYSTEM, else commerce."""
    return name or settings.portico_system or DEFAULT_SYSTEM


def environment_with(host: str | None) -> Environment:
    """This process's environment, and in it the address to listen on where the command line names one."""
    environment = Environment.of_process()
    if host is None:
        return environment
    return Environment({**environment.variables, "HOST": host}, environment.dotenv_file)


def read_ports(system: System, pairs: Iterable[str]) -> dict[str, int]:
    """From `["identity=9001"]` to ports by name. Raises CommandError."""
    ports = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if not text.isdigit() or not 0 < int(text) <= _HIGHEST:
            raise CommandError(
                f"--port {pair} names no port.", "Write a name and a number, as in --port identity=9001."
            )
        ports[GATEWAY if name == GATEWAY else system.placement(name).name] = int(text)
    return ports


def bind_all(host: str, ports: Mapping[str, int]) -> dict[str, socket.socket]:
    """A listening socket for each name; all of them or none.

    Raises:
        PortTaken: somebody listens there.
        AddressRefused: there is no such address, or it takes more rights.
    """
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(bind(host, port)) for name, port in ports.items()}
        stack.pop_all()
    return sockets


def ports_of(system: System) -> dict[str, int]:
    """The port of each part of `system`."""
    return {GATEWAY: system.gateway} | {each.name: each.port for each in system.placements}


def moved_to(system: System, sockets: Mapping[str, socket.socket]) -> System:
    """`system` on the ports that the sockets have."""
    return system.moved({name: int(bound.getsockname()[1]) for name, bound in sockets.items()})
