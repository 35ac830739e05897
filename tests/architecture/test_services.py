"""Folders and modules of a service: none imports another in a cycle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[2] / "src" / "portico" / "services"
NOT_YET_ACYCLIC = {"catalog"}
NAMES = sorted(
    path.name for path in SERVICES.iterdir() if (path / "__init__.py").exists() and path.name not in NOT_YET_ACYCLIC
)


@pytest.mark.parametrize("service", NAMES)
def test_the_folders_of_a_service_form_no_cycle(service: str) -> None:
    folder = SERVICES / service
    imports = {name: _siblings(folder, name) for name in _children(folder)}

    while free := {name for name, imported in imports.items() if not imported & imports.keys() - {name}}:
        imports = {name: imported for name, imported in imports.items() if name not in free}

    assert imports == {}, "these import one another in a cycle"


def _children(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir() if path.name not in {"__init__.py", "__pycache__", "migrations"}}


def _siblings(folder: Path, child: str) -> set[str]:
    """Return the children of the service that `child` imports."""
    package = f"portico.services.{folder.name}."
    files = [folder / f"{child}.py"] if (folder / f"{child}.py").exists() else sorted((folder / child).rglob("*.py"))
    return {
        module.removeprefix(package).partition(".")[0]
        for path in files
        for module in _imports(path)
        if module.startswith(package)
    }


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{each.name}" for each in node.names)
