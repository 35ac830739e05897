"""Faults inside batched calls and cohorts of sagas, in the processes of a drill on servers.

The drill describes the faults in a variable of the environment, and begins and ends them with a file. A process writes each
place that it reaches, and its fault, to a file of its own, so that the drill can count what a killed process has done.
"""

import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self

import orjson

from portico.drill.faults.calls import FaultyChannel
from portico.drill.faults.injection import FaultyCohorts
from portico.drill.faults.plan import BATCH_SITES, Fault, FaultPlan, Kind, Site
from portico.drill.report import Report
from portico.kit.sagas.runner import SagaRunner

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime

_VARIABLE = "DRILL_FAULTS"
_ACTIVE = "faults-are-active"
_NONE = "none"


@dataclass(frozen=True)
class ProcessFaults:
    """The faults in the processes of a drill.

    Args:
        folder: where their files are written.
        seed: of the drill.
        kinds: of faults.
        rate: the share of places at which a fault occurs.
    """

    folder: str
    seed: int
    kinds: tuple[Kind, ...]
    rate: float

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Self | None:
        """Return the faults that the drill described to its process, if any."""
        text = variables.get(_VARIABLE)
        return None if text is None else cls(**orjson.loads(text))

    @property
    def variables(self) -> Mapping[str, str]:
        """The variables of the processes."""
        return {_VARIABLE: orjson.dumps(self).decode()}

    @property
    def active(self) -> bool:
        """Whether faults occur now."""
        return (Path(self.folder) / _ACTIVE).exists()

    @contextmanager
    def occurring(self, report: Report) -> Iterator[None]:
        """Let faults occur for the duration of the block, and count them afterwards."""
        marker = Path(self.folder) / _ACTIVE
        marker.touch()
        try:
            yield
        finally:
            marker.unlink()
            self._add_to(report)

    def inject(self, contexts: Iterable["ServiceRuntime"]) -> None:
        """Inject the faults into the services of this process."""
        for context in contexts:
            process = _ThisProcess(self._begin_file(context.name))
            plan = _WrittenPlan(self, process.file)
            context.channel = FaultyChannel(context.channel, process, plan)
            if context.service.sagas:
                FaultyCohorts(context.resource(SagaRunner), process, plan)

    def _begin_file(self, service: str) -> Path:
        """Create the file of a service's process. Its name has the number of its start: each start has other faults."""
        for number in count(1):
            path = Path(self.folder) / f"{service}-{number}.faults"
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                continue
            return path
        raise AssertionError

    def _add_to(self, report: Report) -> None:
        """Count what the processes have written."""
        for site, kind in self._written():
            report.points += 1
            if kind != _NONE:
                report.injected[f"{site}: {kind}"] += 1
                report.crashes += kind == "crash"

    def _written(self) -> Iterator[tuple[str, str]]:
        for path in Path(self.folder).glob("*.faults"):
            for line in path.read_text().splitlines():
                site, kind = line.split()
                yield site, kind


class _ThisProcess:
    """A fault point of this process. Its name has the number of the start."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.name = file.stem
        self.has_crashed = False

    def crash(self) -> None:
        """Kill this process."""
        os.kill(os.getpid(), signal.SIGKILL)


class _WrittenPlan(FaultPlan):
    """A plan of faults that writes each place that the process reaches, and its fault, to a file."""

    def __init__(self, faults: ProcessFaults, file: Path) -> None:
        super().__init__(faults.seed, faults.kinds, rate=faults.rate, sites=BATCH_SITES)
        self._faults = faults
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def next(self, service: str, site: Site) -> Fault | None:
        if site not in self.sites:
            return None
        self.active = self._faults.active
        fault = super().next(service, site)
        if self.active:
            os.write(self._file, f"{site} {_NONE if fault is None else fault.kind}\n".encode())
        return fault
