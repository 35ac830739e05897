"""The base of private servers: start, stop, kill and restart a server process."""

import atexit
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

import psutil

from portico.servers.data_dir import Account, DataDir, PersistentDataDir, TemporaryDataDir
from portico.servers.processes import is_frozen, is_same_process, orphans, start_time, tree, wait_or_kill
from portico.servers.programs import server_account

HOST = "127.0.0.1"
START_LIMIT = 60.0
STOP_LIMIT = 20.0
POLL = 0.05
LOG_LINES = 30
LOG_LIMIT = 16 << 20  # bytes
PORT_TRIES = 3

_PORTS = range(20_000, 32_000)  # systems choose other ports for connections: Linux from 32768, others from 49152
_numbers = itertools.count(secrets.randbelow(len(_PORTS)))


class ServerFailed(Exception):
    """A server did not start, or rejected a statement."""


class Server(ABC):
    """One private server, with its own folder, a free loopback port and a random password.

    Args:
        durable: flush to the disk as in production. Otherwise commits survive the server's process (except in Redis),
            but not a power failure.
        data_dir: store its data, password and port in this folder, for the next start. By default all are deleted
            when it stops.

    Raises:
        ProgramMissing: its program is not installed.
        DataDirUnusable: its folder cannot be used.
    """

    name: ClassVar[str]
    key: ClassVar[str]  # its name in REQUIRE_SERVERS, and of its persistent folder
    accounts: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, *, durable: bool = False, data_dir: Path | None = None) -> None:
        self.durable = durable
        self.port = 0
        self._account = self.choose_account(data_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self.find_programs()
        self._data_dir: DataDir = (
            TemporaryDataDir(self.key, self._account)
            if data_dir is None
            else PersistentDataDir(data_dir, self.key, self._account)
        )
        self.folder = self._data_dir.folder
        self.password = self._data_dir.password
        atexit.register(self.stop)

    def choose_account(self, data_dir: Path | None) -> Account | None:  # noqa: ARG002  # other servers use it
        """Return the account that the server runs as if this process is root's; None for that of this process."""
        return server_account(*self.accounts)

    @abstractmethod
    def find_programs(self) -> None:
        """Find the programs of the server. Raises ProgramMissing."""

    @abstractmethod
    def prepare(self) -> None:
        """Prepare the empty folder, once, before the first start."""

    def configure(self) -> None:  # noqa: B027  # not every server has configuration files
        """Write configuration files; called before each start."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return the command that serves on `port` in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether a client can sign in."""

    @abstractmethod
    def url(self) -> str:
        """Return the address for clients, with the password."""

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self._process.pid

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> Self:
        """Start the server and wait until it is ready.

        Raises:
            ServerFailed: it exited, or was not ready within a minute; has the end of its log.
        """
        try:
            self._end_previous_process()
            if self._data_dir.is_new:
                self.prepare()
                self._data_dir.set_prepared()
            self._start_on_a_free_port()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Shut the server down, and delete its folder unless it is persistent."""
        atexit.unregister(self.stop)
        if self._process is not None:
            self.resume()
            self._end(self.stop_signal)
        self._data_dir.close()

    def kill(self) -> None:
        """End the server and its children with SIGKILL, as a crash would. `restart` starts it again."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again on the same port and files, after `kill` or while it runs.

        Raises:
            ServerFailed: see `start`.
        """
        if self._process is not None:
            self._end(self.stop_signal)
        self._launch()
        self._await_ready()

    def wait_for_exit(self, within: float) -> int | None:
        """Return the exit status of a server that exits by itself within `within` seconds, or None.

        Raises:
            ServerFailed: the server is not running.
        """
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        try:
            status = self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None
        self._dismiss_guard()  # it would end another process that gets the same id
        return status

    def rotate_log(self) -> None:
        """Move a long log to a second file, which replaces the previous one."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)  # the server continues at the new end: it opened the file for appending

    def pause(self) -> None:
        """Pause the server: connections stay open, and it answers nothing."""
        self._signal(signal.SIGSTOP)
        deadline = time.monotonic() + STOP_LIMIT
        while time.monotonic() < deadline and not all(is_frozen(each) for each in tree(self.pid)):
            time.sleep(0.001)  # the signal takes effect a moment later

    def resume(self) -> None:
        """Continue a paused server."""
        self._signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def write(self, name: str, text: str) -> Path:
        """Write a file that only the server's account may read."""
        path = self.folder / name
        path.unlink(missing_ok=True)  # an existing file would keep its permissions
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            if self._account:
                os.fchown(file.fileno(), self._account.pw_uid, self._account.pw_gid)
            file.write(text)
        return path

    def run(self, *command: str | Path, environ: dict[str, str] | None = None) -> str:
        """Run a program as the server's account; return its output.

        Raises:
            ServerFailed: it failed, or took more than a minute; has its output.
        """
        process = self._spawn(command, subprocess.PIPE, environ)
        try:
            output, _ = process.communicate(timeout=START_LIMIT)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise ServerFailed(f"{Path(command[0]).name} took more than {START_LIMIT:.0f} s") from error
        text = output.decode(errors="replace")
        if process.returncode != 0:
            raise ServerFailed(f"{Path(command[0]).name} failed for {self.name}:\n{text.strip()}")
        return text

    def _start_on_a_free_port(self) -> None:
        """Start the server, and retry if another process takes the chosen port before the server binds it."""
        for left in reversed(range(PORT_TRIES)):
            self.port = self._data_dir.port if _is_free(self._data_dir.port) and left == PORT_TRIES - 1 else free_port()
            self._launch()
            try:
                self._await_ready()
            except ServerFailed as error:
                if left == 0 or "in use" not in str(error):
                    raise
                self._end(signal.SIGKILL)
            else:
                return

    def _launch(self) -> None:
        self.configure()
        with self.log.open("ab") as log:
            self._process = self._spawn(self.command(), log.fileno(), None)
        self._guard = subprocess.Popen(  # noqa: S603  # our own command
            self._data_dir.guard(self._process.pid, self.stop_signal.name.removeprefix("SIG")),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._started_at = start_time(self._process.pid)
        self._data_dir.set_running(self._process.pid, self._started_at, self.port)

    def _end_previous_process(self) -> None:
        """End the server of a previous run that was killed together with its guard."""
        pid, started_at = self._data_dir.previous_process()
        if is_same_process(pid, started_at) and (whole := tree(pid)):  # it may end at any moment
            with suppress(psutil.NoSuchProcess):
                whole[0].send_signal(self.stop_signal)
            wait_or_kill(whole, STOP_LIMIT)
        wait_or_kill(orphans(pid, started_at), 0)

    def _spawn(
        self, command: Sequence[str | Path], output: int, environ: dict[str, str] | None
    ) -> subprocess.Popen[bytes]:
        account = self._account
        return subprocess.Popen(  # noqa: S603  # the programs that find_programs found
            [str(part) for part in command],
            # A process that may not enter the parents of its working directory prints errors.
            cwd=self.folder if self._data_dir.descriptor is None else "/",
            env={**os.environ, "HOME": str(self.folder), "LC_ALL": "C", **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal reaches only this process
            pass_fds=() if self._data_dir.descriptor is None else (self._data_dir.descriptor,),
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise ServerFailed(f"{self.name} exited during its start:\n{self._log_tail()}")
            if _accepts(self.port) and self.is_ready():
                return
            time.sleep(POLL)
        raise ServerFailed(f"{self.name} was not ready after {START_LIMIT:.0f} s:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        if not self.log.exists():
            return "(it wrote no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def _signal(self, number: signal.Signals) -> None:
        """Signal the server and its children: PostgreSQL's backends have their own sessions."""
        for process in tree(self.pid):
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue  # it exited between the listing and the signal

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        whole = tree(self._process.pid)
        if number is signal.SIGKILL:
            self._signal(number)
        else:
            self._process.send_signal(number)
        wait_or_kill(whole, STOP_LIMIT)
        self._dismiss_guard()
        self._process.wait()
        wait_or_kill(orphans(self._process.pid, self._started_at), 0)
        self._process = None

    def _dismiss_guard(self) -> None:
        """End the guard before the server's process id can be reused."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None


def free_port() -> int:
    """Return a free port of the loopback address, another one at each call. Raises ServerFailed if there is none.

    A port that the system chooses may be given to a connection of another process before a server binds it.
    """
    for number in itertools.islice(_numbers, len(_PORTS)):
        if _is_free(port := _PORTS[number % len(_PORTS)]):
            return port
    raise ServerFailed(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as the servers do: closed connections in TIME_WAIT do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return port != 0


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False
