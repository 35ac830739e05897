"""`portico up --reload`: serve a system for development, and restart what changed.

This process imports Portico, but never the project's code. It forks the processes that read and serve the system, so
that each has the project's current code and a restart does not import the libraries again. It keeps the listening
sockets: a request that arrives during a restart waits.
"""

import asyncio
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from portico.cli.banner import NewAdministrator, print_system
from portico.cli.environment import add_import_paths, find_chosen_system, load_system
from portico.cli.errors import print_error
from portico.cli.migrate import report_unmigrated
from portico.cli.process import Process, run
from portico.cli.source_tree import SourceTree
from portico.cli.worker import serve_until_stopped
from portico.kit.runtime.serving import AddressRefused, PortTaken, bind, ports_of
from portico.kit.runtime.signals import INTERRUPTED
from portico.kit.runtime.system import GATEWAY, System
from portico.kit.settings import Environment, Settings

POLL = 0.1  # seconds between two looks at the files
_SHARE = 20  # a look at many files is followed by a pause of this many times its duration
_RELOAD_GRACE = 1.0  # seconds that requests in flight get during a restart
_MAX_MESSAGE_BYTES = 4096
_WHOLE = "the system"
_PORTICO = Path(__file__).parents[1]


@dataclass(frozen=True)
class Plan:
    """What a system consists of.

    Args:
        ports: the port of each part; 0 is any free one.
        packages: the folder of each service that is a package.
        modules: the modules of Portico that the system imports. This process imports them too, once.
    """

    ports: dict[str, int]
    packages: dict[str, str]
    modules: list[str]


@dataclass
class Worker:
    """A process that serves some parts. `control` is a socket to it; its end means that the other process has ended."""

    name: str
    parts: Sequence[str]
    pid: int
    control: socket.socket
    started: float = field(default_factory=time.monotonic)
    is_ready: bool = False


class Reloader:
    """Serves a system until SIGTERM or Ctrl-C.

    Args:
        name: name or import path of the system.
        environment: its settings.
        choose_ports: returns the port of each part of the system.
        split: whether each part has a process of its own; a change of a service's package then restarts that part only.
    """

    def __init__(
        self, name: str, environment: Environment, choose_ports: Callable[[System], dict[str, int]], *, split: bool
    ) -> None:
        self._name = name
        self._environment = environment
        self._settings = environment.read(Settings)
        self._choose_ports = choose_ports
        self._split = split
        self._plan: Plan | None = None
        self._sockets: dict[str, socket.socket] = {}
        self._workers: dict[str, Worker] = {}
        self._administrator: NewAdministrator | None = None
        self._is_stopping = False
        self._is_introduced = False

    def run(self) -> int:
        """Serve until a signal; return the exit status."""
        add_import_paths()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        folders = _folders_of(self._name)
        tree = SourceTree(folders)
        self._restart_all()
        pause = POLL
        while not self._is_stopping:
            self._receive(pause)
            looked = time.monotonic()
            changed = tree.changed()
            pause = max(POLL, _SHARE * (time.monotonic() - looked))
            if changed:
                self._restart(changed)
        self._end(list(self._workers.values()), self._settings.grace_period)
        return 0

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_stopping:
            for worker in self._workers.values():
                os.kill(worker.pid, signal.SIGKILL)
            os._exit(INTERRUPTED)
        self._is_stopping = True

    def _restart(self, changed: set[Path]) -> None:
        if any(path.is_relative_to(_PORTICO) for path in changed):
            _say("Portico has changed: starting again.")
            self._end(list(self._workers.values()), _RELOAD_GRACE)
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 this program itself
        _say(f"Changed: {', '.join(sorted(map(_shown, changed)))}")
        parts = {self._part_of(path) for path in changed}
        if self._plan is None or None in parts:
            self._restart_all()
        elif self._split:
            self._restart_groups({part: [part] for part in {GATEWAY, *map(str, parts)}})  # the gateway reads the routes
        else:
            self._restart_groups({_WHOLE: list(self._sockets)})

    def _part_of(self, path: Path) -> str | None:
        """Return the service whose package has the file; None if it concerns every part."""
        packages = self._plan.packages if self._plan else {}
        return next((part for part, folder in packages.items() if path.is_relative_to(folder)), None)

    def _restart_all(self) -> None:
        """Read the system again, and restart every part."""
        self._end(list(self._workers.values()), _RELOAD_GRACE)
        self._plan = self._new_plan()
        if self._plan is None:
            _say("Waiting for a change.")
            return
        groups = {part: [part] for part in self._sockets} if self._split else {_WHOLE: list(self._sockets)}
        self._restart_groups(groups)

    def _new_plan(self) -> Plan | None:
        """Read the system, and bind the sockets of its parts; None after an error, which is printed.

        Raises:
            PortTaken, AddressRefused: a port cannot be bound at the first start.
        """
        read = self._in_fork(self._read_plan)
        if read is None:
            return None
        plan = Plan(**read)
        for module in plan.modules:
            importlib.import_module(module)
        try:
            self._bind(plan.ports)
        except (PortTaken, AddressRefused) as error:
            if not self._is_introduced:
                raise
            print_error(error)
            return None
        return plan

    def _read_plan(self) -> dict[str, Any]:
        system = find_chosen_system(self._name, self._settings)
        packages = {
            each.name: str(Path(module.__path__[0]))
            for each in system.placements
            if hasattr(module := sys.modules[each.service.module], "__path__")
        }
        modules = [name for name in sys.modules if name.startswith("portico.")]
        return {"ports": self._choose_ports(system), "packages": packages, "modules": modules}

    def _bind(self, ports: Mapping[str, int]) -> None:
        """Bind a socket for each new part, and close those of parts that are gone. Raises PortTaken, AddressRefused."""
        for part in self._sockets.keys() - ports.keys():
            self._sockets.pop(part).close()
        for part in ports.keys() - self._sockets.keys():
            self._sockets[part] = bind(self._settings.host, ports[part])

    def _restart_groups(self, groups: Mapping[str, Sequence[str]]) -> None:
        self._end([self._workers[name] for name in groups if name in self._workers], _RELOAD_GRACE)
        for name, parts in groups.items():
            self._workers[name] = self._start(name, parts)

    def _start(self, name: str, parts: Sequence[str]) -> Worker:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become_child(lambda: self._serve(parts, theirs))
        theirs.close()
        return Worker(name, parts, pid, ours)

    def _serve(self, parts: Sequence[str], control: socket.socket) -> int:
        os.dup2(control.fileno(), 0)  # a worker's control socket is its standard input
        system = load_system(self._name).with_ports(ports_of(self._sockets))
        sockets = {part: self._sockets[part] for part in parts}
        process = Process(system, self._environment, sockets)

        async def serve() -> int:
            comparing = asyncio.create_task(report_unmigrated(system, parts))
            try:
                return await serve_until_stopped(process)
            finally:
                comparing.cancel()
                await asyncio.gather(comparing, return_exceptions=True)  # a broken migration ends the service itself

        return run(serve())

    def _receive(self, seconds: float) -> None:
        """Handle what the workers say within `seconds`: that they are ready, or by its end that they have exited."""
        controls = {worker.control: worker for worker in self._workers.values()}
        for control in select.select(list(controls), [], [], seconds)[0]:
            worker = controls[control]
            message = control.recv(_MAX_MESSAGE_BYTES)
            if message:
                self._is_ready(worker, json.loads(message))
            else:
                del self._workers[worker.name]
                control.close()
                status = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
                _say(f"{worker.name} exited with status {status}. Waiting for a change.")

    def _is_ready(self, worker: Worker, message: Mapping[str, Any]) -> None:
        worker.is_ready = True
        if message["administrator"] is not None:
            self._administrator = NewAdministrator(**message["administrator"])
        if self._is_introduced:
            _say(f"Restarted {worker.name} in {time.monotonic() - worker.started:.1f} s.")
        elif self._sockets.keys() <= {part for each in self._workers.values() if each.is_ready for part in each.parts}:
            self._is_introduced = True
            self._in_fork(self._introduce)

    def _introduce(self) -> None:
        system = load_system(self._name).with_ports(ports_of(self._sockets))
        print_system(system, self._settings, self._administrator)

    def _in_fork(self, work: Callable[[], Any]) -> Any:
        """Call `work` in a forked process; return what it returns, or None if it failed and printed the error."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:

            def write_result() -> int:
                with open(writer, "w", encoding="utf-8") as stream:  # noqa: PTH123 a file descriptor
                    json.dump(work(), stream)
                return 0

            self._become_child(write_result)
        os.close(writer)
        with open(reader, encoding="utf-8") as stream:  # noqa: PTH123 a file descriptor
            result = stream.read()
        os.waitpid(pid, 0)
        return json.loads(result) if result else None

    def _become_child(self, work: Callable[[], int]) -> NoReturn:
        """Do `work` in a process that was just forked, and end the process with its status."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches every process; the parent decides
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for worker in self._workers.values():
            worker.control.close()
        importlib.invalidate_caches()
        sys.dont_write_bytecode = True  # two versions of a file in one second can have the same stamp
        status = 1
        try:
            status = work()
        except Exception as error:  # noqa: BLE001 the last handler; `print_error` prints the error
            status = print_error(error)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _end(self, workers: Sequence[Worker], grace: float) -> None:
        """Stop workers; kill those that have not exited after `grace` seconds."""
        for worker in workers:
            del self._workers[worker.name]
            os.kill(worker.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        for worker in workers:
            while (left := deadline - time.monotonic()) > 0 and select.select([worker.control], [], [], left)[0]:
                if not worker.control.recv(_MAX_MESSAGE_BYTES):
                    break
            else:
                os.kill(worker.pid, signal.SIGKILL)
            os.waitpid(worker.pid, 0)
            worker.control.close()


def _folders_of(name: str) -> list[Path]:
    """Return the folders with the source code of a system: its own package, or Portico for a shipped system."""
    package = name.partition(":")[0].partition(".")[0] if ":" in name else "portico"
    spec = find_spec(package)
    if spec is None:
        return [Path.cwd()]
    if spec.submodule_search_locations:
        return [Path(each) for each in spec.submodule_search_locations]
    return [Path(str(spec.origin)).parent]


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
