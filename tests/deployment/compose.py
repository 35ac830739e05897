"""The content of compose.yaml for tests."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from portico.systems.commerce import commerce

ROOT = Path(__file__).parents[2]
FILE = ROOT / "compose.yaml"
GATEWAY = "gateway"
PORTS = {GATEWAY: commerce.gateway} | {each.name: each.port for each in commerce.placements}
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<rest>[^}]*))?\}")


@cache
def services() -> dict[str, dict[str, Any]]:
    """Return all containers by name."""
    found: dict[str, dict[str, Any]] = YAML(typ="safe").load(FILE.read_text())["services"]
    return found


def parts() -> dict[str, dict[str, Any]]:
    """Return the containers of the gateway and of the services."""
    return {name: each for name, each in services().items() if each.get("command", [None])[0] == "run"}


def interpolations() -> list[tuple[str, str | None]]:
    """Return the variables that the file reads from the environment: required (`?`) or with a default (`-`)."""
    return [(found["name"], found["kind"]) for found in _VARIABLE.finditer(FILE.read_text())]


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with variables interpolated as compose does. Raises KeyError if a required one is missing."""

    def value(found: "re.Match[str]") -> str:
        return values[found["name"]] if found["kind"] == "?" else values.get(found["name"], found["rest"] or "")

    return _VARIABLE.sub(value, text)
