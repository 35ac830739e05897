"""A new project: a system of shipped services, to which the team adds its own."""

from pathlib import Path

from portico.cli.scaffold.changes import Changes
from portico.cli.scaffold.names import check_project_name
from portico.cli.scaffold.rendering import render
from portico.kit.foundation.errors import CommandError


def new_project(name: str, folder: Path) -> Changes:
    """Return what to write for the project `name` in `folder`. Raises CommandError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandError(f"{folder} exists and is not an empty folder.", "Choose another folder, or empty it first.")
    check_project_name(name)
    names = {"project": name, "Project": name.replace("_", " ").capitalize()}
    package = Path("src") / name
    changes = Changes(folder, name)
    for path, template in {
        Path("pyproject.toml"): "pyproject.toml",
        Path("README.md"): "README.md",
        Path(".gitignore"): "gitignore",
        package / "systems.py": "systems.py",
        Path("tests/conftest.py"): "conftest.py",
    }.items():
        changes.create(folder / path, render(f"project/{template}", names))
    changes.create(folder / package / "__init__.py", "")
    changes.create(folder / package / "py.typed", "")
    return changes
