"""Run systems with the `portico` command in a test."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from portico.testing.commands import Command, environment, free_ports, portico

LIBRARY = "tests.cli.systems:library"


@dataclass(frozen=True)
class Addresses:
    """The ports of a system's parts, by name."""

    ports: Mapping[str, int]

    @classmethod
    def of(cls, *names: str) -> "Addresses":
        return cls(dict(zip(names, free_ports(len(names)), strict=True)))

    def __getitem__(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def options(self) -> list[str]:
        """The options of `portico up` for these ports."""
        return [f"--port={name}={port}" for name, port in self.ports.items()]


def up(folder: Path, system: str, at: Addresses, *options: str, variables: Mapping[str, str] | None = None) -> Command:
    """Start `portico up`."""
    return Command(folder, "up", system, *at.options, *options, variables=variables)


def walked(folder: Path, *options: str, within: float = 240) -> subprocess.CompletedProcess[str]:
    """Run `portico demo` to its end."""
    return subprocess.run(
        portico("demo", *options),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
