"""Lookup of a system by name or import path."""

import difflib
import sys
from importlib import import_module
from pathlib import Path

from portico.kit.runtime.shipped_systems import import_path_of, shipped_systems
from portico.kit.runtime.system import System


class NoSuchSystem(LookupError):
    """The system does not exist. The message lists the existing ones."""


def find_system(name: str) -> System:
    """Return the system `name`: a shipped one, or an import path such as `shop.systems:shop`.

    Raises:
        NoSuchSystem: it does not exist.
    """
    if ":" in name:
        return _import_system(name)
    if name not in shipped_systems():
        close = difflib.get_close_matches(name, shipped_systems(), 1)
        raise NoSuchSystem(
            f"There is no system {name!r}."
            + (f" Did you mean {close[0]}?" if close else "")
            + f" Portico ships {', '.join(shipped_systems())}. Name your own system by its import path (shop.systems:shop)."
        )
    return _import_system(import_path_of(name))


def _import_system(path: str) -> System:
    module_name, _, attribute = path.partition(":")
    try:
        found = getattr(import_module(module_name), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module exists, but a module that it imports does not
        raise NoSuchSystem(
            f"There is no module {error.name} to import {path} from. Searched {Path.cwd()} and the packages installed in {sys.prefix}."
        ) from error
    if isinstance(found, System):
        return found
    what = (
        f"no {attribute!r}" if found is None else f"{attribute!r}, a {type(found).__name__}, but no System of that name"
    )
    raise NoSuchSystem(
        f"The module {module_name} has {what}. Write module:name, where the module sets name = System(…): shop.systems:shop."
    )
