"""Start-up check: what a service's package defines, `Service(…)` declares. An undeclared consumer would never run."""

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
    """Import the modules of the service's package that may define such objects, and compare with what the service declares.

    A service whose module is not a package is not checked: other services may be defined in the same module. Nor is a
    service with another name than the one that its package defines: it was derived from that one.

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
    """Routers have no name; consumers, jobs and sagas are known by their stored names."""
    return id(value) if isinstance(value, Router) else (type(value), value.name)


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    """Yield the modules of the package, from the innermost out, without migrations: those run only through Alembic."""
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
    """Whether the module names one of the constructors. Others are not imported: they may load libraries not needed."""
    spec = find_spec(name)
    if spec is None or not isinstance(spec.loader, InspectLoader):
        return False
    code = spec.loader.get_code(name)
    return code is not None and not _CONSTRUCTORS.isdisjoint(code.co_names)
