"""The settings and the system that a command runs with."""

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from portico.cli.errors import print_warning
from portico.cli.project import Project
from portico.kit.settings import Environment, LoadedSettings, ServiceSettings, Settings, read_settings

if TYPE_CHECKING:
    from portico.cli.system_outline import SystemOutline
    from portico.kit.runtime.system import System

S = TypeVar("S", bound=ServiceSettings)

DEFAULT_SYSTEM = "commerce"


def read_environment(kind: type[S]) -> LoadedSettings[S]:
    """Read settings of `kind` from the environment and from `.env` in the working directory. Raises SettingsError."""
    return read_settings(kind, environ=os.environ, dotenv_file=Path(".env"))


def current_settings() -> Settings:
    """Return the settings that every process has. Raises SettingsError."""
    return read_environment(Settings).value


def environment_with(host: str | None) -> Environment:
    """Return this process's environment, with HOST set to `host` unless that is None."""
    environment = Environment.of_process()
    if host is None:
        return environment
    return Environment({**environment.variables, "HOST": host}, environment.dotenv_file)


@contextmanager
def logs_on_stderr(settings: Settings, level: Literal["info", "warning"] = "info") -> Iterator[None]:
    """Send logs to standard error while a command runs: other programs read its standard output.

    LOG_LEVEL does not apply, because what a command changes is always logged.
    """
    from portico.kit.telemetry.logs import Logs

    logs = Logs.configure(level=level, style=settings.log_format, stream=sys.stderr.buffer)
    try:
        yield
    finally:
        logs.close()


def find_chosen_system(name: str | None, settings: Settings) -> "System":
    """Return the system called `name`, or the one that `system_name` finds. Warn of misspelt settings.

    Raises:
        NoSuchSystem, CommandError: there is no such system.
    """
    system = load_system(system_name(name, settings))
    warn_of_misspelt_settings(system.variables)
    return system


def outline_chosen_system(name: str | None, settings: Settings) -> "SystemOutline":
    """Return the outline of that system, without an import of its services if possible. Warn of misspelt settings.

    Raises:
        NoSuchSystem, CommandError: there is no such system.
    """
    outline = outline_system(system_name(name, settings))
    warn_of_misspelt_settings(outline.variables)
    return outline


def outline_system(name: str) -> "SystemOutline":
    """Return the outline of a system, without an import of its services if possible. Raises NoSuchSystem."""
    from portico.cli.system_outline import SystemOutline, read_outline
    from portico.kit.runtime.shipped_systems import import_path_of

    add_import_paths()
    return read_outline(import_path_of(name)) or SystemOutline.of(load_system(name))


def warn_of_misspelt_settings(variables: Collection[str]) -> None:
    """Print a warning for each variable whose name is almost that of a setting."""
    for warning in Environment.of_process().misspelt(variables):
        print_warning(warning)


def load_system(name: str) -> "System":
    """Return the system `name`, which may be a project's in the working directory. Raises NoSuchSystem."""
    from portico.kit.runtime.system_loader import find_system

    add_import_paths()
    return find_system(name)


def add_import_paths() -> None:
    """Let a team's own system be imported from the working directory, or from the source folder of the project there."""
    folder = Path.cwd()
    project = Project.at(folder)
    for each in dict.fromkeys([folder, project.source] if project else [folder]):
        if str(each) not in sys.path:
            sys.path.insert(0, str(each))


def system_name(name: str | None, settings: Settings) -> str:
    """Return `name`, else the value of PORTICO_SYSTEM, else the system of the project in the working directory, else commerce.

    Raises:
        CommandError: none is named, and the working directory is a folder inside a project.
    """
    if found := name or settings.portico_system:
        return found
    project = Project.here()
    return project.system if project else DEFAULT_SYSTEM


def find_system_or_service(name: str | None, system: str | None) -> "tuple[System, str | None]":
    """Find what `name` refers to: a system, or a service of `system`.

    Returns:
        the system, and the service's name there; None for a whole system.

    Raises:
        NoSuchSystem, NoSuchService: nothing has that name.
    """
    from portico.kit.runtime.shipped_systems import shipped_systems

    is_system = name is None or ":" in name or (name in shipped_systems() and system is None)
    found = find_chosen_system(name if is_system and name is not None else system, current_settings())
    return found, None if is_system or name is None else found.placement(name).name
