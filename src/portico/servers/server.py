"""A server process of our own, from its start to its end."""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import psutil

from portico.servers.homes import Account, Home, PersistentDataDir, TemporaryHome
from portico.servers.processes import born, end, is_frozen, is_the_one, orphans, tree
from portico.servers.programs import server_account

HOST = "127.0.0.1"
START_LIMIT = 60.0
STOP_LIMIT = 20.0
POLL = 0.05
LOG_LINES = 30
LOG_LIMIT = 16 << 20  # bytes
PORT_TRIES = 3


class ServerFailed(Exception):
    """A server did not start, or refused what was asked of it."""


class Server(ABC):
    """One private server: its own folder, a free loopback port, a random password.

    Args:
        durable: Flush to the disk as in production. Without it what was committed outlives the server's process (but
            for Redis), not the machine's power.
        kept_in: Keep its folder, password and port beneath this one, for the next start to find; else all are gone
            when it stops.

    Raises:
        ProgramMissing: It is not installed.
        HomeUnusable: Its folder can't be used.
    """

    name: ClassVar[str]
    key: ClassVar[str]  # its word in REQUIRE_SERVERS, and the name of a kept folder
    accounts: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, *, durable: bool = False, kept_in: Path | None = None) -> None:
        self.durable = durable
        self.port = 0
        self._account: Account | None = server_account(*self.accounts)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self.find_programs()
        self._home: Home = (
            TemporaryHome(self.key, self._account)
            if kept_in is None
            else PersistentDataDir(kept_in, self.key, self._account)
        )
        self.folder = self._home.folder
        self.password = self._home.password
        atexit.register(self.stop)

    @abstractmethod
    def find_programs(self) -> None:
        """Find what the server needs. Raises ProgramMissing."""

    @abstractmethod
    def prepare(self) -> None:
        """Fill the empty folder, once, before the first start."""

    def configure(self) -> None:  # noqa: B027  # one that is told all by its command has nothing to write
        """Write what the server reads at each start; called before each."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Give the command that serves on `port` in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Say whether a client with the password is served."""

    @abstractmethod
    def url(self) -> str:
        """Where clients reach it, with the password."""

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
        """Start the server and wait until it serves.

        Raises:
            ServerFailed: It ended, or was not ready within a minute; carries the end of its log.
        """
        try:
            self._end_what_was_left()
            if self._home.is_new:
                self.prepare()
                self._home.filled()
            self._start_on_a_free_port()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server in order, and remove its files unless they are kept."""
        atexit.unregister(self.stop)
        if self._process is not None:
            self.resume()
            self._end(self.stop_signal)
        self._home.close()

    def kill(self) -> None:
        """End the server and its children with SIGKILL, as a crash would. `restart` brings it back."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again on the same port and files, after `kill` or from running.

        Raises:
            ServerFailed: As `start` does.
        """
        if self._process is not None:
            self._end(self.stop_signal)
        self._launch()
        self._await_ready()

    def ended(self, within: float) -> int | None:
        """The exit status of a server that ends by itself within so many seconds; None where it goes on.

        Raises:
            ServerFailed: It was not running.
        """
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        try:
            status = self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None
        self._dismiss_guard()  # or it would end whoever is given the number next
        return status

    def bound_log(self) -> None:
        """Begin the log anew where it has grown long; what it was lies beside it until the next time."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)  # the server goes on at the new end: the file is open for appending

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        deadline = time.monotonic() + STOP_LIMIT
        while time.monotonic() < deadline and not all(is_frozen(each) for each in tree(self.pid)):
            time.sleep(0.001)  # the signal has been sent, and has its effect a moment later

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def write(self, name: str, text: str) -> Path:
        """Write a file of its folder for nobody's eyes but the server's."""
        path = self.folder / name
        path.unlink(missing_ok=True)  # else an open one of before would keep its rights
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            if self._account:
                os.fchown(file.fileno(), self._account.pw_uid, self._account.pw_gid)
            file.write(text)
        return path

    def run(self, *command: str | Path, environ: dict[str, str] | None = None) -> str:
        """Run a program of the server's as the server's account, and give its output.

        Raises:
            ServerFailed: It failed, or took more than a minute; carries what it said.
        """
        done = self._spawn(command, subprocess.PIPE, environ)
        try:
            output, _ = done.communicate(timeout=START_LIMIT)
        except subprocess.TimeoutExpired as error:
            done.kill()
            done.communicate()
            raise ServerFailed(f"{Path(command[0]).name} took more than {START_LIMIT:.0f} s") from error
        text = output.decode(errors="replace")
        if done.returncode != 0:
            raise ServerFailed(f"{Path(command[0]).name} failed for {self.name}:\n{text.strip()}")
        return text

    def _start_on_a_free_port(self) -> None:
        """Try again where another process took the port between the choice of it and the server's start."""
        for left in reversed(range(PORT_TRIES)):
            self.port = self._home.port if _is_free(self._home.port) and left == PORT_TRIES - 1 else free_port()
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
            self._home.guard(self._process.pid, self.stop_signal.name.removeprefix("SIG")),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._began = born(self._process.pid)
        self._home.started(self._process.pid, self._began, self.port)

    def _end_what_was_left(self) -> None:
        """End the server of a run that was killed together with the guard."""
        pid, began = self._home.left_behind()
        if is_the_one(pid, began):
            whole = tree(pid)
            whole[0].send_signal(self.stop_signal)
            end(whole, STOP_LIMIT)
        end(orphans(pid, began), 0)

    def _spawn(
        self, command: Sequence[str | Path], output: int, environ: dict[str, str] | None
    ) -> subprocess.Popen[bytes]:
        account = self._account
        return subprocess.Popen(  # noqa: S603  # the programs that find_programs found
            [str(part) for part in command],
            # One that may not enter the folders above its own can't find out where it is, and complains.
            cwd=self.folder if self._home.descriptor is None else "/",
            env={**os.environ, "HOME": str(self.folder), "LC_ALL": "C", **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the one who started it to handle
            pass_fds=() if self._home.descriptor is None else (self._home.descriptor,),
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise ServerFailed(f"{self.name} ended as it started:\n{self._log_tail()}")
            if _accepts(self.port) and self.answers():
                return
            time.sleep(POLL)
        raise ServerFailed(f"{self.name} was not ready after {START_LIMIT:.0f} s:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        if not self.log.exists():
            return "(it wrote no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def _signal(self, number: signal.Signals) -> None:
        """Signal the server and its children: PostgreSQL's backends lead sessions of their own."""
        for process in tree(self.pid):
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue  # it ended between the listing and the signal

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        whole = tree(self._process.pid)
        if number is signal.SIGKILL:
            self._signal(number)
        else:
            self._process.send_signal(number)
        end(whole, STOP_LIMIT)
        self._dismiss_guard()
        self._process.wait()
        end(orphans(self._process.pid, self._began), 0)
        self._process = None

    def _dismiss_guard(self) -> None:
        """End the guard before the server's process id is free to be another's."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None


def free_port() -> int:
    """A port of the loopback address that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: waiting ends don't count
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
