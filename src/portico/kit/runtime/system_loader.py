"""Finding a system by what a person calls it."""

import difflib
import sys
from importlib import import_module
from pathlib import Path

from portico.kit.runtime.system import System

SHIPPED = "portico.systems"
"""the package of the systems that Portico brings: each a module of its own name, listed in NAMES"""


class NoSuchSystem(LookupError):
    """There is no system of that name. The message says which there are."""


def shipped_systems() -> tuple[str, ...]:
    """The names of the systems that Portico brings."""
    names: tuple[str, ...] = import_module(SHIPPED).NAMES
    return names


def find_system(name: str) -> System:
    """The system `name`: one that Portico brings, or an import path such as `shop.systems:shop`.

    Raises:
        NoSuchSystem: there is none.
    """
    if ":" in name:
        return _imported(name)
    if name not in shipped_systems():
        close = difflib.get_close_matches(name, shipped_systems(), 1)
        raise NoSuchSystem(
            f"There is no system {name!r}."
            + (f" Did you mean {close[0]}?" if close else "")
            + f" Portico brings {', '.join(shipped_systems())}; name one of your own by its import path, as in shop.systems:shop."
        )
    return _imported(f"{SHIPPED}.{name}:{name}")


def _imported(path: str) -> System:
    module_name, _, attribute = path.partition(":")
    try:
        found = getattr(import_module(module_name), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and something that it imports is not
        raise NoSuchSystem(
            f"There is no module {error.name} to import {path} from: looked in {Path.cwd()} and what is installed in {sys.prefix}."
        ) from error
    if not isinstance(found, System):
        raise NoSuchSystem(f"{module_name} has no System called {attribute!r}.")
    return found
