"""Names of the systems that Portico ships. This module imports no system."""

from importlib import import_module

SHIPPED = "portico.systems"
"""Package of the systems that Portico ships: one module per system, listed in NAMES."""


def shipped_systems() -> tuple[str, ...]:
    """Return the names of the systems that Portico ships."""
    names: tuple[str, ...] = import_module(SHIPPED).NAMES
    return names


def import_path_of(name: str) -> str:
    """Return the import path of a system. `name` is an import path or the name of a shipped system."""
    return name if ":" in name else f"{SHIPPED}.{name}:{name}"
