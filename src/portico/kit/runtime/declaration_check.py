"""Start-up check that `Service(…)` declares what the service's package defines and uses.

An undeclared consumer would not run, an undeclared event could not be published, and `/health` would not show a called
service that is not declared. A permission that no service requires is misspelt, or only another program uses it.
"""

import difflib
import pkgutil
import sys
from collections.abc import Collection, Iterator
from functools import cache
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.util import find_spec
from inspect import unwrap
from types import CodeType, FunctionType, ModuleType
from typing import Any

from portico.kit.calls.client import Client
from portico.kit.http.router import Router
from portico.kit.jobs.runner import Job
from portico.kit.messaging.consumer import Consumer
from portico.kit.messaging.event import Event
from portico.kit.runtime.service import Service
from portico.kit.runtime.system import System
from portico.kit.sagas.definition import Saga

_CONSTRUCTORS = frozenset({"Router", "consumes", "job", "Saga"})
_ARGUMENTS = {Router: "routers", Consumer: "consumers", Job: "jobs", Saga: "sagas"}


class Undeclared(RuntimeError):
    """A service's package defines or uses something that `Service(…)` does not declare."""


def check_declarations(service: Service, other_services: Collection[str] = ()) -> None:
    """Compare the declaration with what the service's package defines and uses.

    Modules that may define routers, consumers, jobs or sagas are imported. Functions of the package may use events, and
    clients of other services.

    A service whose module is not a package is not checked, because other services may be defined in the same module. A
    service whose name differs from that of the package's service is not checked either, because it is derived from that
    service.

    Args:
        service: the declaration.
        other_services: names of the services whose clients must be declared in `calls`.

    Raises:
        Undeclared: the service does not declare something that its package defines or uses.
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
        for used in _used_classes(module):
            if (advice := _advice_for(used, service, other_services)) is not None:
                missing.setdefault(used, f"{module.__name__} uses {used.__name__} ({advice})")
    if missing:
        raise Undeclared(
            f"The service {service.name} does not declare what its package defines or uses: {', '.join(missing.values())}."
        )


def unused_permissions(system: System, known: Collection[str] = ()) -> list[str]:
    """Return a warning for each permission of a role that is not `known` and that no service of the system requires."""
    routes = [route for each in system.services for router in each.routers for route in router.routes]
    asked = {route.access.permission for route in routes if route.access.permission is not None} | set(known)
    wanted = {permission for permissions in system.roles.values() for permission in permissions} - asked - {"*"}
    asked |= {text for each in system.services for text in _texts(each.module) if text in wanted} if wanted else set()
    warnings = []
    for role, permissions in system.roles.items():
        for permission in sorted(set(permissions) & (wanted - asked)):
            close = difflib.get_close_matches(permission, asked, 1)
            suggestion = f" Did you mean {close[0]}?" if close else ""
            warnings.append(
                f"The role {role} has the permission {permission}, which no service of {system.name} requires.{suggestion}"
            )
    return warnings


def _texts(package: str) -> Iterator[str]:
    """Yield the string constants of the package, because a condition in a function may require a permission."""
    for name, module in list(sys.modules.items()):
        if f"{name}.".startswith(f"{package}."):
            yield from (each for each in vars(module).values() if isinstance(each, str))
            yield from (each for code in _codes(module) for each in code.co_consts if isinstance(each, str))


def _advice_for(used: type[Any], service: Service, other_services: Collection[str]) -> str | None:
    """Return the advice to declare a class that the service uses; None if nothing is missing."""
    if issubclass(used, Client):
        name = getattr(used, "service", None)
        declared = {service.name, *service.calls, *service.optional_calls}
        return f'add "{name}" to `calls`' if name in set(other_services) - declared else None
    if not used.event_type or used in service.publishes or any(used in each.events for each in service.consumers):
        return None
    return "add it to `publishes`"


@cache
def _used_classes(module: ModuleType) -> list[type[Any]]:
    """Return the events and clients that functions of the module use, without events of broadcast subscriptions."""
    imported = [each for each in vars(module).values() if isinstance(each, ModuleType)]
    named = {
        name: value
        for holder in (module, *imported)
        for name, value in vars(holder).items()
        if isinstance(value, type) and issubclass(value, Client | Event) and value not in {Client, Event}
    }
    codes = [code for code in _codes(module) if "subscribe" not in code.co_names] if named else []
    return [named[name] for code in codes for name in code.co_names if name in named]


def _codes(module: ModuleType) -> Iterator[CodeType]:
    """Yield the code of the functions, consumers, jobs and methods that the module defines."""
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            found = [_function_of(each) for each in vars(value).values()]
        else:
            found = [_function_of(value)]
        for function in found:
            if function is not None and function.__module__ == module.__name__:
                yield from _with_inner(function.__code__)


def _function_of(value: Any) -> FunctionType | None:
    match value:
        case FunctionType():
            function = unwrap(value)
        case Consumer() | Job():
            function = value.function
        case property():
            function = value.fget
        case classmethod() | staticmethod():
            function = value.__func__
        case _:
            function = None
    return function if isinstance(function, FunctionType) else None


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _with_inner(each)


def _identity(value: Any) -> object:
    """Return the identity of an object. Routers have no name; consumers, jobs and sagas have stored names."""
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

    Other modules are not imported, because they may load libraries that are not needed.
    """
    spec = find_spec(name)
    if spec is None or not isinstance(spec.loader, InspectLoader):
        return False
    code = spec.loader.get_code(name)
    return code is not None and not _CONSTRUCTORS.isdisjoint(code.co_names)
