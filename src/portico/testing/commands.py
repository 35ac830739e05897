"""Run the `portico` command in a test: in its own process and folder, on free ports."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import psutil

from portico.kit.runtime.fork_server import ForkedProcess
from portico.servers import free_port
from portico.servers.processes import serves
from portico.testing.preloaded import can_preload, start_preloaded

T = TypeVar("T")

COMMAND_TIMEOUT = 120.0  # seconds; a test machine may be busy
_PAUSE = 0.02


class ConditionNotMet(AssertionError):
    """A condition did not become true in time."""


def eventually(found: Callable[[], T | None], what: str, within: float = COMMAND_TIMEOUT) -> T:
    """Call `found` until its result is true; return the result. Raises ConditionNotMet after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > deadline:
            raise ConditionNotMet(f"{what} did not come within {within:g} s")
        time.sleep(_PAUSE)


def free_ports(count: int) -> list[int]:
    """Return different free ports of this machine."""
    return [free_port() for _ in range(count)]


def on_a_free_port() -> list[str]:
    """Return the options of `portico run` that select a free port: tests run in parallel."""
    return ["--port", str(free_ports(1)[0])]


def fetch(
    url: str,
    *,
    method: str = "GET",
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = COMMAND_TIMEOUT,
) -> tuple[int, Any]:
    """Send a request; return the status and the JSON of the response. Raises OSError if there is none."""
    sent = {"content-type": "application/json"} if body is not None else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {**sent, **(headers or {})}, method=method)  # noqa: S310 a URL of the test
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310 likewise
            return response.status, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def is_healthy(address: str) -> bool:
    """Return whether the process at `address` is healthy."""
    try:
        return fetch(f"{address}/health", timeout=10)[0] == 200  # noqa: PLR2004 the status OK
    except OSError:
        return False


class Command:
    """A `portico` command that runs until it is stopped: `with Command(folder, "up") as up: up.wait_for(url)`.

    Args:
        folder: its working directory, with its data.
        arguments: of the command.
        variables: environment variables, besides those that a process needs to start.
        python: the Python that runs it.
        preload: whether it may be forked from a process that has imported Portico, which saves a second.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
        preload: bool = True,
    ) -> None:
        self._out = folder / "out.txt"
        self._err = folder / "err.txt"
        with self._out.open("ab") as out, self._err.open("ab") as err:
            files = None, out, err
            self.process = _start(arguments, folder, environment(variables), files, python, preload=preload)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        family = [*self.children, psutil.Process(self.process.pid)] if self.process.poll() is None else []
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait()

    @property
    def out(self) -> str:
        """Its standard output so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """Its standard error so far."""
        return self._err.read_text()

    @property
    def children(self) -> list[psutil.Process]:
        """The processes that it has started, with their children."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def workers(self, part: str, port: int) -> list[psutil.Process]:
        """Return its processes that serve `part` on `port`, after `up --split`."""
        return [each for each in self.children if serves(each, part, port)]

    def wait_for(self, address: str) -> None:
        """Wait until the process at `address` is healthy. Raises ConditionNotMet."""

        def healthy() -> bool:
            if self.process.poll() is not None:
                raise ConditionNotMet(f"portico ended with {self.process.returncode}: {self.err}\n{self.out}")
            return is_healthy(address)

        eventually(healthy, address)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(COMMAND_TIMEOUT)


def portico(*arguments: str, python: str | Path = sys.executable) -> list[str]:
    """Return the command line that runs `portico` with `python`, by default this one."""
    return [str(python), "-m", "portico", *arguments]


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment with `variables` and the paths of Python and its modules."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME", "TMPDIR", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"}
    }
    paths = os.pathsep.join(str(Path(each).absolute()) for each in sys.path if each)
    return {**kept, "PYTHONPATH": paths, "PYTHONUTF8": "1", "COLUMNS": "200", **(variables or {})}


def run_portico(
    folder: Path, *arguments: str, variables: Mapping[str, str] | None = None, entered: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with `entered` as its standard input."""
    with TemporaryFile("w+") as given, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        given.write(entered)
        given.seek(0)
        process = _start(arguments, folder, environment(variables), (given, out, err))
        try:
            status = process.wait(COMMAND_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        for each in (out, err):
            each.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read(), err.read())


def _start(
    arguments: Sequence[str],
    folder: Path,
    environ: Mapping[str, str],
    files: tuple[IO[Any] | None, IO[Any], IO[Any]],
    python: str | Path = sys.executable,
    *,
    preload: bool = True,
) -> "subprocess.Popen[bytes] | ForkedProcess":
    """Start `portico` with standard input, output and error in `files`; forked if that is allowed and possible."""
    if preload and python == sys.executable and can_preload(environ):
        return start_preloaded(arguments, folder=folder, environ=environ, files=files)
    given, out, err = files
    return subprocess.Popen(  # noqa: S603 the Python of the test
        portico(*arguments, python=python), cwd=folder, env=environ, stdin=given, stdout=out, stderr=err
    )
