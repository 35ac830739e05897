"""A system of two services for tests of commands: one publishes readers who leave, one handles these events."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess

from tests.kit.messaging.leaving import ReaderLeft, Shelving, die, left

from portico.kit.runtime.system import System
from portico.testing.commands import Command, run_portico
from portico.testing.running_service import RunningService

shelving = Shelving()
_both = shelving.service()
readers = replace(_both, name="readers", consumers=[])
shelves = replace(_both, name="shelves", publishes=[])

leaving = System("leaving", "Readers who leave, and their books", gateway=1, services={readers: 1, shelves: 1})


@dataclass(frozen=True)
class Leaving:
    """The running system, and its command line."""

    readers: RunningService
    shelves: RunningService
    folder: Path
    database_url: str

    @property
    def variables(self) -> Mapping[str, str]:
        return {"PORTICO_SYSTEM": "tests.cli.leaving:leaving", "DATABASE_URL": self.database_url}

    async def run(self, *arguments: str) -> CompletedProcess[str]:
        """Run a command to its end, while the services run."""
        return await asyncio.to_thread(run_portico, self.folder, *arguments, variables=self.variables)

    def start(self, *arguments: str) -> Command:
        """Start a command that runs until it is stopped."""
        return Command(self.folder, *arguments, variables=self.variables)

    async def output_of(self, *arguments: str) -> str:
        """Run a successful command; return its output."""
        done = await self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


async def dead(library: Leaving, *titles: str) -> list[ReaderLeft]:
    """Create a dead letter for each title, each of its own reader. Later events are handled."""
    shelving.failing = set(titles)
    events = [left(title, f"r-{title}") for title in titles]
    await die(library.shelves, *events)
    shelving.failing, shelving.seen = set(), []
    return events
