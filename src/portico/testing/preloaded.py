"""Processes of `portico` that begin with its modules imported: forks of a process that imports them once.

A command imports for one to two seconds. Tests start hundreds of them.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

MODULES = (
    "portico.cli.process",
    "portico.cli.worker",
    "portico.kit.data.migrations.autogenerate",
    "portico.systems.catalog",
    "portico.systems.commerce",
    "portico.systems.ticketing",
)
_STANDARD = (0, 1, 2)  # standard input, output and error
_STATUS = struct.Struct("!i")
_LENGTH = struct.Struct("!I")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PreloadedProcess:
    """A command in a process of its own, with the methods of `subprocess.Popen` that tests use.

    Args:
        status: receives the process id, and then the exit status.
    """

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self.pid = _STATUS.unpack(_receive(status, _STATUS.size))[0]
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status; None while the process runs, and the negative number of a signal that ended it."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = _STATUS.unpack(_receive(self._status, _STATUS.size))[0]
            self._status.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when the process has ended. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired("portico", timeout or 0)
            select.select([self._status], [], [], left)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # its status has not arrived yet
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


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
) -> PreloadedProcess:
    """Start `portico` with these arguments.

    Args:
        arguments: its arguments.
        folder: its working directory.
        environ: its environment, for which `can_preload` is true.
        files: its standard input, output and error; None for the input of this process.
    """
    ignored = [int(number) for number in _SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    request = {"arguments": list(arguments), "folder": str(folder), "environ": dict(environ), "ignored": ignored}
    body = json.dumps(request).encode()
    ours, theirs = socket.socketpair()
    standard = [0 if each is None else each.fileno() for each in files]
    with theirs:
        server = _server(environ["PYTHONPATH"])
        socket.send_fds(server, [_LENGTH.pack(len(body))], [theirs.fileno(), *standard])
        server.sendall(body)
    return PreloadedProcess(ours)


@cache
def _server(paths: str) -> socket.socket:
    """Start the process that is forked, with this PYTHONPATH. It ends when this process does."""
    ours, theirs = socket.socketpair()
    environ = {**os.environ, "PYTHONPATH": paths, "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", __name__, str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(command, env=environ, pass_fds=[theirs.fileno()])  # noqa: S603 this Python
    atexit.register(_end, ours, process)
    return ours


def _end(server: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    server.close()
    process.wait()


def _receive(source: socket.socket, size: int) -> bytes:
    """Return `size` bytes. Raises EOFError if the other end is closed before."""
    received = b""
    while len(received) < size:
        part = source.recv(size - len(received))
        if not part:
            raise EOFError
        received += part
    return received


class _ForkServer:
    """Forks for each request, and sends the exit status of each process.

    Args:
        control: receives the requests. Its end ends the server.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._statuses: dict[int, socket.socket] = {}
        self._woken, self._waker = socket.socketpair()
        for each in (self._woken, self._waker):
            each.setblocking(False)

    def serve(self) -> None:
        """Serve until the other end of `control` is closed."""
        signal.set_wakeup_fd(self._waker.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._control, self._woken], [], [])
            if self._woken in ready:
                self._woken.recv(4096)
                self._report_ended()
            if self._control in ready:
                head, descriptors, _, _ = socket.recv_fds(self._control, _LENGTH.size, 1 + len(_STANDARD))
                if not head:
                    return
                self._fork(json.loads(_receive(self._control, _LENGTH.unpack(head)[0])), descriptors)

    def _fork(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        status, *standard = descriptors
        pid = os.fork()
        if pid == 0:
            for number, descriptor in zip(_STANDARD, standard, strict=True):
                os.dup2(descriptor, number)
        for descriptor in standard:
            os.close(descriptor)
        if pid == 0:
            os.close(status)
            self._close()
            _run(request)
        self._statuses[pid] = socket.socket(fileno=status)
        self._statuses[pid].sendall(_STATUS.pack(pid))

    def _close(self) -> None:
        """Close what the forked process must not keep open."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self._control, self._woken, self._waker, *self._statuses.values()):
            each.close()

    def _report_ended(self) -> None:
        for pid, status in list(self._statuses.items()):
            ended, code = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._statuses[pid]
                with status, contextlib.suppress(OSError):  # no process may wait for it any more
                    status.sendall(_STATUS.pack(os.waitstatus_to_exitcode(code)))


def _run(request: Mapping[str, Any]) -> NoReturn:
    """Become the command, as `python -m portico` in its folder would."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else signal.SIG_DFL)
    if signal.SIGINT not in request["ignored"]:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[0] = request["folder"]
    sys.argv[1:] = request["arguments"]
    runpy.run_module("portico", run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()
    _ForkServer(socket.socket(fileno=int(sys.argv[1]))).serve()
