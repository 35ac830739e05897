"""The content of the compose files for tests."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from portico.kit import System
from portico.systems.commerce import commerce
from portico.systems.ticketing import ticketing

ROOT = Path(__file__).parents[2]
GATEWAY = "gateway"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<rest>[^}]*))?\}")


@dataclass(frozen=True)
class ComposeFile:
    """A compose file and the system that it runs."""

    path: Path
    system: System

    @cached_property
    def ports(self) -> dict[str, int]:
        """The ports of the gateway and of the services by name."""
        return {GATEWAY: self.system.gateway} | {each.name: each.port for each in self.system.placements}

    @cached_property
    def services(self) -> dict[str, dict[str, Any]]:
        """All containers by name."""
        found: dict[str, dict[str, Any]] = YAML(typ="safe").load(self.path.read_text())["services"]
        return found

    @cached_property
    def parts(self) -> dict[str, dict[str, Any]]:
        """The containers of the gateway and of the services."""
        return {name: each for name, each in self.services.items() if each.get("command", [None])[0] == "run"}

    def interpolations(self) -> list[tuple[str, str | None]]:
        """Return the variables that the file reads from the environment: required (`?`) or with a default (`-`)."""
        return [(found["name"], found["kind"]) for found in _VARIABLE.finditer(self.path.read_text())]


FILES = {
    "commerce": ComposeFile(ROOT / "compose.yaml", commerce),
    "ticketing": ComposeFile(ROOT / "compose.ticketing.yaml", ticketing),
}


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with variables interpolated as compose does. Raises KeyError if a required one is missing."""

    def value(found: "re.Match[str]") -> str:
        return values[found["name"]] if found["kind"] == "?" else values.get(found["name"], found["rest"] or "")

    return _VARIABLE.sub(value, text)
