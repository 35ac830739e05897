"""Processes that start with the modules of Portico imported, because they are forked from one that imports them once.

A command imports for one to two seconds. Tests start hundreds of them.
"""

import atexit
import importlib
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

from portico.kit.runtime.fork_server import SIGNALS, ForkedCommand, ForkedProcess, ForkServer, serve

MODULES = (
    "portico.cli.process",
    "portico.cli.worker",
    "portico.kit.data.migrations.autogenerate",
    "portico.systems.catalog",
    "portico.systems.commerce",
    "portico.systems.ticketing",
)


def can_preload(environ: Mapping[str, str]) -> bool:
    """Return whether a command with this environment can be forked: Python reads some variables when it begins."""
    of_python = {name for name in environ if name.startswith(("PYTHON", "COVERAGE"))}
    return of_python == {"PYTHONPATH", "PYTHONUTF8"}


def start_preloaded(
    arguments: Sequence[str],
    *,
    folder: Path,
    environ: Mapping[str, str],
    files: tuple[IO[Any] | None, IO[Any], IO[Any]],
) -> ForkedProcess:
    """Start `portico` with these arguments.

    Args:
        arguments: its arguments.
        folder: its working directory.
        environ: its environment, for which `can_preload` is true.
        files: its standard input, output and error; None for the input of this process.
    """
    ignored = [int(number) for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    command = ForkedCommand(f"{__name__}:run_portico", arguments, environ, folder=str(folder), ignored=ignored)
    given, out, err = files
    return preloaded_server(environ["PYTHONPATH"]).start(command, (0 if given is None else given, out, err))


@cache
def preloaded_server(paths: str) -> ForkServer:
    """Return a fork server with this PYTHONPATH. It is started once."""
    return start_preloaded_server(paths)


def start_preloaded_server(paths: str) -> ForkServer:
    """Start a fork server with this PYTHONPATH. It ends when this process does."""
    ours, theirs = socket.socketpair()
    environ = {**os.environ, "PYTHONPATH": paths, "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", __name__, str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(command, env=environ, pass_fds=[theirs.fileno()])  # noqa: S603 this Python
    server = ForkServer(ours, process.wait)
    atexit.register(server.close)
    return server


def run_portico() -> None:
    """Run `python -m portico` in this process."""
    sys.path[0] = str(Path.cwd())
    runpy.run_module("portico", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for module in MODULES:
        importlib.import_module(module)
    serve(socket.socket(fileno=int(sys.argv[1])))
