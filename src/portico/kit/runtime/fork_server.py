"""Start processes by forking one that has imported their modules already.

The imports of a service take more than a second of processor time and most of its memory. Forked processes need no time
for them, and share the memory. `portico up --split` and the drill start worker processes with it, tests all commands.
"""

import asyncio
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn, Protocol, Self

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals whose handling a forked process sets at its start."""

_STATUS: Final = struct.Struct("!i")
_LENGTH: Final = struct.Struct("!I")
_STANDARD: Final = (0, 1, 2)  # file descriptors of standard input, output and error
_MAX_NAME_LENGTH: Final = 15  # bytes; the kernel cuts longer names


class OpenFile(Protocol):
    """A file or socket that a process can inherit."""

    def fileno(self) -> int:
        """Return the file descriptor."""


class ForkServerEnded(RuntimeError):
    """The fork server has ended, so that no process can be started, and exit statuses are lost."""

    def __init__(self) -> None:
        super().__init__("The process that starts the others has ended.")


@dataclass(frozen=True)
class ForkedCommand:
    """What a forked process does.

    Args:
        target: the function to call, such as "portico.cli.worker:main". Its module is imported if it is not yet.
        arguments: `sys.argv` after the program's name.
        environ: the environment. Variables that Python reads when it starts have no effect.
        name: of the process, as `ps -o comm` and `top` show it on Linux; None keeps the server's.
        folder: the working directory; None keeps the server's.
        new_session: whether the process leads a new session, which Ctrl-C in the terminal does not reach.
        ignored: numbers of those `SIGNALS` that the process ignores at first.
    """

    target: str
    arguments: Sequence[str]
    environ: Mapping[str, str]
    name: str | None = None
    folder: str | None = None
    new_session: bool = False
    ignored: Sequence[int] = field(default=())


class ForkedProcess:
    """A process that a fork server has started, with the methods of `subprocess.Popen` that its users need.

    Args:
        status: receives the process id, and then the exit status.
    """

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self.pid: int = _STATUS.unpack(_receive(status, _STATUS.size))[0]
        self.returncode: int | None = None
        self._exited: asyncio.Future[int] | None = None

    def poll(self) -> int | None:
        """Return the exit status; None while the process runs, and the negative number of a signal that ended it.

        Raises:
            ForkServerEnded: the status is lost.
        """
        if self.returncode is None and self._has_news(0.0):
            with self._status:
                if self._exited is not None:
                    self._exited.get_loop().remove_reader(self._status)
                self.returncode = _STATUS.unpack(_receive(self._status, _STATUS.size))[0]
            if self._exited is not None:
                self._exited.set_result(self.returncode)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when the process has ended. Raises ForkServerEnded, subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self._has_news(left)
        return status

    async def exited(self) -> int:
        """Return the exit status when the process has ended. Several tasks may wait. Raises ForkServerEnded."""
        if self.returncode is not None:
            return self.returncode
        loop = asyncio.get_running_loop()
        if self._exited is None:
            self._exited = loop.create_future()
            loop.add_reader(self._status, self._set_exited, self._exited)
        return await asyncio.shield(self._exited)

    def _set_exited(self, exited: "asyncio.Future[int]") -> None:
        try:
            self.poll()
        except ForkServerEnded as error:
            exited.set_exception(error)

    def _has_news(self, seconds: float | None) -> bool:
        """Wait at most `seconds` for the exit status, or for the end of the server. Raises ForkServerEnded."""
        if self._status.fileno() < 0:
            raise ForkServerEnded
        poller = select.poll()  # `select.select` takes no descriptor above 1,023
        poller.register(self._status, select.POLLIN)
        return bool(poller.poll(None if seconds is None else seconds * 1000))

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended, or its id may belong to another one because the server has ended."""
        with contextlib.suppress(ForkServerEnded, ProcessLookupError):  # or its status has not arrived yet
            if self.poll() is None:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A process that starts others by forking itself. It ends when this object is closed or its process ends.

    Args:
        control: a socket to the process, which calls `serve`.
        wait: waits until the process has exited.
    """

    def __init__(self, control: socket.socket, wait: Callable[[], object]) -> None:
        self._control = control
        self._wait = wait

    @classmethod
    def fork(cls) -> Self:
        """Start a server with the modules that this process has imported.

        Call it before this process starts threads or an event loop, or opens what the processes must not inherit.
        """
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or each process would write the rest
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            os.setsid()  # Ctrl-C in the terminal must not reach it
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)  # it ends after the process that started it
            _set_name("fork-server")
            try:
                serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        return cls(ours, lambda: os.waitpid(pid, 0))

    def start(self, command: ForkedCommand, files: Sequence[OpenFile | int]) -> ForkedProcess:
        """Start a process.

        Args:
            command: what it does.
            files: its standard input, output and error, or their file descriptors.

        Raises:
            ForkServerEnded: the server has ended.
        """
        body = json.dumps({**vars(command), "environ": dict(command.environ)}).encode()
        ours, theirs = socket.socketpair()
        descriptors = [each if isinstance(each, int) else each.fileno() for each in files]
        with theirs:
            try:
                socket.send_fds(self._control, [_LENGTH.pack(len(body))], [theirs.fileno(), *descriptors])
                self._control.sendall(body)
            except ConnectionError:
                ours.close()
                raise ForkServerEnded from None
        return ForkedProcess(ours)

    def close(self) -> None:
        """End the server. Processes that it started continue."""
        self._control.close()
        self._wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(control: socket.socket) -> None:
    """Fork for each request, until the other end of `control` is closed. The process must have one thread."""
    gc.collect()
    gc.freeze()  # collections would copy the shared memory
    _Server(control).serve()


def _receive(source: socket.socket, size: int) -> bytes:
    """Return `size` bytes. Raises ForkServerEnded if the other end is closed before."""
    received = b""
    while len(received) < size:
        try:
            part = source.recv(size - len(received))
        except ConnectionError:
            part = b""
        if not part:
            raise ForkServerEnded
        received += part
    return received


class _Server:
    """Forks for each request, and sends the exit status of each process."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._statuses: dict[int, socket.socket] = {}
        self._woken, self._waker = socket.socketpair()
        for each in (self._woken, self._waker):
            each.setblocking(False)

    def serve(self) -> None:
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
                body = _receive(self._control, _LENGTH.unpack(head)[0])
                self._fork(ForkedCommand(**json.loads(body)), descriptors)

    def _fork(self, command: ForkedCommand, descriptors: Sequence[int]) -> None:
        status, *standard = descriptors
        pid = os.fork()
        if pid == 0:
            for number, descriptor in zip(_STANDARD, standard, strict=True):
                os.dup2(descriptor, number)
            for descriptor in descriptors:
                os.close(descriptor)
            self._close()
            _run(command)
        for descriptor in standard:
            os.close(descriptor)
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


def _run(command: ForkedCommand) -> NoReturn:
    """Become the process of `command`. It ends when the target returns or raises, with the status of a Python program."""
    status: int | str | None = 1
    try:
        _prepare(command)
        module, _, function = command.target.partition(":")
        getattr(importlib.import_module(module), function)()
        status = 0
    except SystemExit as error:
        status = error.code
    except BaseException:  # noqa: BLE001 the last handler
        traceback.print_exc()
    finally:
        if isinstance(status, str):
            sys.stderr.write(f"{status}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))


def _prepare(command: ForkedCommand) -> None:
    if command.new_session:
        os.setsid()
    if command.folder is not None:
        os.chdir(command.folder)
    os.environ.clear()
    os.environ.update(command.environ)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN if number in command.ignored else signal.SIG_DFL)
    if signal.SIGINT not in command.ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv[1:] = command.arguments
    if command.name is not None:
        _set_name(command.name)


def _set_name(name: str) -> None:
    """Set the name of this process that `ps -o comm` and `top` show, on Linux."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_bytes(name.encode()[:_MAX_NAME_LENGTH])
