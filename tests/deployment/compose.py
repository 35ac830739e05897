"""compose.yaml as tests read it."""

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
    """Every container that the file describes."""
    found: dict[str, dict[str, Any]] = YAML(typ="safe").load(FILE.read_text())["services"]
    return found


def parts() -> dict[str, dict[str, Any]]:
    """Those that are a part of the system: the gateway, and each service."""
    return {name: each for name, each in services().items() if each.get("command", [None])[0] == "run"}


def interpolations() -> list[tuple[str, str | None]]:
    """Each variable that the file takes from outside, and what it is without: required (`?`) or a default (`-`)."""
    return [(found["name"], found["kind"]) for found in _VARIABLE.finditer(FILE.read_text())]


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """`text` as compose would pass it on. Raises KeyError for what is required and not there."""

    def value(found: "re.Match[str]") -> str:
        return values[found["name"]] if found["kind"] == "?" else values.get(found["name"], found["rest"] or "")

    return _VARIABLE.sub(value, text)
