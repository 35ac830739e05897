"""What the source code of a system declares: names, ports and settings, without an import of its services.

The import of a service builds its routes, tables and messages, which takes seconds. Commands that only list services or
settings read the declarations instead. A system that is not written like the shipped ones is imported.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.kit.settings import ServiceSettings, Settings, all_variables

if TYPE_CHECKING:
    from portico.kit.runtime.system import System

SYSTEM, SERVICE = "System", "Service"


@dataclass(frozen=True)
class ServiceOutline:
    """A service of a system.

    Args:
        name: its name in the system.
        own_name: its name of its own.
        port: its port.
        summary: one line.
        settings: the class of its settings, if it has one.
    """

    name: str
    own_name: str
    port: int
    summary: str
    settings: type[ServiceSettings] | None


@dataclass(frozen=True)
class SystemOutline:
    """A system. The fields are those of `System`."""

    name: str
    summary: str
    gateway: int
    case: str
    prefix: str
    services: tuple[ServiceOutline, ...]

    @classmethod
    def of(cls, system: "System") -> "SystemOutline":
        """Return the outline of an imported system."""
        services = tuple(
            ServiceOutline(each.name, each.service.name, each.port, each.service.summary, each.service.settings)
            for each in system.placements
        )
        return cls(system.name, system.summary, system.gateway, system.case, system.prefix, services)

    @property
    def settings(self) -> list[type[ServiceSettings]]:
        """The classes of the services' settings."""
        return [each.settings for each in self.services if each.settings is not None]

    @property
    def variables(self) -> frozenset[str]:
        """The environment variables that are settings of its processes."""
        return all_variables([Settings, *self.settings], [each.name for each in self.services])


class _NotPlain(Exception):
    """The source code has another form than that of the shipped systems."""


def read_outline(path: str) -> SystemOutline | None:
    """Return the outline of a system from its source code.

    Args:
        path: import path of the system, such as `shop.systems:shop`.

    Returns:
        the outline, or None if only an import can tell.
    """
    module_name, _, variable = path.partition(":")
    try:
        module = _Source.of(module_name)
        fields = module.call(variable, SYSTEM)
        names = {_name(key): _constant(value, str) for key, value in _items(fields.get("names", ast.Dict([], [])))}
        services = tuple(
            _service(*module.imported(_name(key)), name=names.get(_name(key)), port=_constant(value, int))
            for key, value in _items(fields["services"])
        )
        return SystemOutline(
            name=_constant(fields["name"], str),
            summary=_constant(fields["summary"], str),
            gateway=_constant(fields["gateway"], int),
            case=_constant(fields.get("case", ast.Constant("snake")), str),
            prefix=_constant(fields.get("prefix", ast.Constant("")), str),
            services=services,
        )
    except Exception:  # noqa: BLE001 a real error is raised again by the import, which says what it is
        return None


def _service(module_name: str, variable: str, *, name: str | None, port: int) -> ServiceOutline:
    source = _Source.of(module_name)
    fields = source.call(variable, SERVICE)
    own_name = _constant(fields["name"], str)
    settings = None
    if "settings" in fields:
        owner, kind = source.imported(_name(fields["settings"]))
        with _unexecuted(module_name):
            settings = getattr(import_module(owner), kind)
    return ServiceOutline(name or own_name, own_name, port, _constant(fields["summary"], str), settings)


@dataclass(frozen=True)
class _Source:
    """The statements of a module."""

    tree: ast.Module

    @classmethod
    def of(cls, module_name: str) -> "_Source":
        spec = importlib.util.find_spec(module_name)
        if spec is None or spec.origin is None or not spec.has_location:
            raise _NotPlain(module_name)
        return cls(ast.parse(Path(spec.origin).read_bytes()))

    def call(self, variable: str, function: str) -> Mapping[str, ast.expr]:
        """Return the arguments of `variable = function(…)`; a positional one is the name."""
        found = [
            each.value
            for each in self.tree.body
            if isinstance(each, ast.Assign) and [_name_or_none(target) for target in each.targets] == [variable]
        ]
        match found:
            case [ast.Call(func=ast.Name(id=called), args=args, keywords=keywords)] if called == function:
                fields = dict(zip(("name", "summary"), args, strict=False))
                if len(args) > len(fields) or any(each.arg is None for each in keywords):
                    raise _NotPlain(variable)
                return fields | {each.arg: each.value for each in keywords if each.arg is not None}
            case _:
                raise _NotPlain(variable)

    def imported(self, name: str) -> tuple[str, str]:
        """Return the module that `name` is imported from, and its name there."""
        found = [
            (statement.module, alias.name)
            for statement in self.tree.body
            if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level
            for alias in statement.names
            if (alias.asname or alias.name) == name
        ]
        if len(found) != 1:
            raise _NotPlain(name)
        return found[0]


def _items(node: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if not isinstance(node, ast.Dict) or None in node.keys:
        raise _NotPlain(ast.unparse(node))
    return [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None]


def _name_or_none(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _name(node: ast.expr) -> str:
    if not isinstance(node, ast.Name):
        raise _NotPlain(ast.unparse(node))
    return node.id


def _constant(node: ast.expr, kind: type[Any]) -> Any:
    if not isinstance(node, ast.Constant) or type(node.value) is not kind:
        raise _NotPlain(ast.unparse(node))
    return node.value


@contextmanager
def _unexecuted(package: str) -> Iterator[None]:
    """Let modules inside `package` be imported without it: its own code does not run, and nothing of it stays imported."""
    spec = None if package in sys.modules else importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        yield
        return
    sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        for name in [each for each in sys.modules if each == package or each.startswith(f"{package}.")]:
            del sys.modules[name]
