"""Start-up check that `Service(…)` declares what the service's package defines.

An undeclared consumer would not run.
"""

import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from portico.kit.http.router import Router
from portico.kit.jobs.runner import Job
from portico.kit.messaging.consumer import Consumer
from portico.kit.runtime.service import Service
from portico.kit.sagas.definition import Saga

_CONSTRUCTORS = frozenset({"Router", "consumes", "job", "Saga"})
_ARGUMENTS = {Router: "routers", Consumer: "consumers", Job: "jobs", Saga: "sagas"}


class Undeclared(RuntimeError):
    """A service's package defines routers, consumers, jobs or sagas that `Service(…)` does not declare."""


def check_declarations(service: Service) -> None:
    """Import modules of the service's package that may define such objects, and compare them with the declaration.

    A service whose module is not a package is not checked, because other services may be defined in the same module. A
    service whose name differs from the one that the package defines is not checked either, because it was derived from
    it.

    Raises:
        Undeclared: the service does not declare something that its package defines.
    """
    package = import_module(service.module)
    own = [value for value in vars(package).values() if isinstance(value, Service)]
    if not hasattr(package, "__path__") or (own and all(each.name != service.name for each in own)):
        return
    declared = {_identity(each) for argument in _ARGUMENTS.values() for each in getattr(service, argument)}
    missing: dict[object, str] = {}
    for module in _modules(package):
        for name, value in vars(module).items():
            argument = _ARGUMENTS.get(type(value))
            if argument is not None and _identity(value) not in declared:
                missing.setdefault(_identity(value), f"{module.__name__}.{name} (add it to `{argument}`)")
    if missing:
        raise Undeclared(
            f"The package of the service {service.name} defines what its declaration lacks: {', '.join(missing.values())}."
        )


def _identity(value: Any) -> object:
    """Return what identifies an object: routers have no name; consumers, jobs and sagas have stored names."""
    return id(value) if isinstance(value, Router) else (type(value), value.name)


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    """Yield the modules of the package, innermost first, without migrations, which only Alembic runs."""
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if found.name.rpartition(".")[2] == "migrations":
            continue
        if found.ispkg:
            inner = import_module(found.name)
            yield from _modules(inner)
            yield inner
        elif found.name in sys.modules or _uses_a_constructor(found.name):
            yield import_module(found.name)


def _uses_a_constructor(name: str) -> bool:
    """Return whether the module uses a constructor.

    Others are not imported: they may load libraries that are not needed.
    """
    spec = find_spec(name)
    if spec is None or not isinstance(spec.loader, InspectLoader):
        return False
    code = spec.loader.get_code(name)
    return code is not None and not _CONSTRUCTORS.isdisjoint(code.co_names)
