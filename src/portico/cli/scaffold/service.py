"""A new service of a project, and a new resource of one of its services."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from portico.cli.project import Project
from portico.cli.scaffold.changes import Changes
from portico.cli.scaffold.edits import Module
from portico.cli.scaffold.names import check_service_name, resource_names
from portico.cli.scaffold.rendering import render
from portico.kit.foundation.errors import CommandError

FIRST_PORT = 9000
_LAYERS = ("api", "schemas", "service", "repository", "models", "errors", "consumers")
_TABLE_BASE = '''

class Table(TableRules, DeclarativeBase):
    """Base of the tables of {words}."""
'''


@dataclass(frozen=True)
class Place:
    """Where a resource is written: its service, and the package that holds its modules."""

    project: Project
    service: str
    resource: str

    @property
    def service_package(self) -> str:
        return f"{self.project.package}.services.{self.service}"

    @property
    def package(self) -> str:
        """The service's package for its first resource, a package inside it for each other."""
        return self.service_package if self.resource == self.service else f"{self.service_package}.{self.resource}"

    @property
    def contract(self) -> str:
        return f"{self.project.package}.contracts.{self.service}"

    @property
    def folder(self) -> Path:
        """The folder of the service."""
        return self.project.path_of(self.service_package).with_suffix("")

    @property
    def tests(self) -> Path:
        """The folder of the service's tests."""
        return self.project.folder / "tests" / self.service

    @property
    def names(self) -> dict[str, str]:
        """Placeholders that say where things are."""
        return {
            "project": self.project.package,
            "service": self.service,
            "service_package": self.service_package,
            "package": self.package,
            "contract": self.contract,
        }


def new_service(project: Project, name: str, *, singular: str | None, role: str) -> Changes:
    """Return what to write for a service with one resource of its name. Raises CommandError."""
    check_service_name(name, project.package)
    place = Place(project, name, name)
    names = place.names | resource_names(name, singular)
    changes = Changes(project.folder, project.package)
    if place.folder.exists():
        raise CommandError(
            f"The service {name} exists already.", f"Add to it: portico new resource NAME --service {name}"
        )
    changes.create(place.folder / "__init__.py", render("service/init.py", names))
    table = {
        "table_rules": "TableRules, ",
        "declarative_base": "DeclarativeBase, ",
        "table_base": _TABLE_BASE.format(words=names["words"]),
    }
    _create_modules(changes, place, names | table)
    _create_migration(changes, place, names)
    for folder in (place.folder.parent, project.path_of(place.contract).parent):
        changes.create_missing(folder / "__init__.py", "")
    contract = ("service/contract.py", "resource/contract.py", "service/client.py")
    changes.create(project.path_of(place.contract), "".join(render(each, names) for each in contract))
    _create_tests_of_service(changes, place, names)
    _register_service(changes, place, names["permission"], role)
    return changes


def new_resource(project: Project, name: str, *, service: str | None, singular: str | None, role: str) -> Changes:
    """Return what to write for another resource of a service. Raises CommandError."""
    place = Place(project, service or _only_service(project), name)
    if not (place.folder / "__init__.py").is_file():
        raise CommandError(
            f"The project has no service {place.service!r}.", f"Create it: portico new service {place.service}"
        )
    names = place.names | resource_names(name, singular)
    if name == place.service or (place.folder / name).exists() or (place.folder / f"{name}.py").exists():
        raise CommandError(f"The service {place.service} has {name} already.", "Choose another name.")
    changes = Changes(project.folder, project.package)
    changes.create(place.folder / name / "__init__.py", f'"""{names["Words"]}."""\n')
    base = f"from {place.service_package}.models import Table\n"
    _create_modules(changes, place, names | {"table_rules": "", "declarative_base": "", "table_base": base})
    _create_migration(changes, place, names)
    _extend_contract(changes, place, render("resource/contract.py", names))
    _declare_resource(changes, place, names["Item"])
    _grant(changes, project, names["permission"], role)
    return changes


def _create_modules(changes: Changes, place: Place, names: dict[str, str]) -> None:
    for layer in _LAYERS:
        path = place.project.path_of(f"{place.package}.{layer}")
        changes.create(path, render(f"resource/{layer}.py", names))
    changes.create(place.tests / f"test_{place.resource}.py", render("resource/test.py", names))


def _create_tests_of_service(changes: Changes, place: Place, names: dict[str, str]) -> None:
    for file in ("conftest.py", "test_migrations.py"):
        changes.create_missing(place.tests / file, render(f"service/{file}", names))


def _create_migration(changes: Changes, place: Place, names: dict[str, str]) -> None:
    folder = place.folder / "migrations" / "versions"
    last = max((found[1] for each in folder.glob("*.py") if (found := re.match(r"(\d{4})_", each.name))), default=None)
    revision = f"{int(last or 0) + 1:04}"
    revisions = {"revision": revision, "down_revision": f'"{last}"' if last else "None"}
    changes.create(folder / f"{revision}_{place.resource}.py", render("resource/migration.py", names | revisions))


def _register_service(changes: Changes, place: Place, permission: str, role: str) -> None:
    project = place.project
    system = f"{project.variable} = System"
    line = f"from {place.service_package} import service as {place.service}"

    def register(module: Module) -> Module:
        port = _next_port(module, system)
        module = module.with_import(place.service_package, f"service as {place.service}")
        module = module.with_element(system, "services", f"{place.service}: {port}")
        return module.with_element(system, "roles", f'"{permission}"', within=role)

    changes.edit(
        project.path_of(project.module),
        register,
        by_hand=f'{line}\n{system}(…, services={{…, {place.service}: {FIRST_PORT}}}, roles={{"{role}": [… "{permission}"]}})',
    )


def _grant(changes: Changes, project: Project, permission: str, role: str) -> None:
    system = f"{project.variable} = System"
    changes.edit(
        project.path_of(project.module),
        lambda module: module.with_element(system, "roles", f'"{permission}"', within=role),
        by_hand=f'{system}(…, roles={{"{role}": [… "{permission}"]}})',
    )


def _next_port(module: Module, system: str) -> int:
    """Return the first port from 9000 that no part of the system has."""
    values = module.literal(system, "services")
    assert isinstance(values, ast.Dict)  # noqa: S101 `with_element` refuses the other kind below
    taken = {each.value for each in values.values if isinstance(each, ast.Constant)}
    port = FIRST_PORT
    while port in taken:
        port += 1
    return port


def _extend_contract(changes: Changes, place: Place, classes: str) -> None:
    def extend(module: Module) -> Module:
        module = module.with_import("portico.kit", "Event", "Identifier")
        return Module(f"{module.text.rstrip()}\n\n\n{classes}", module.package)

    changes.edit(place.project.path_of(place.contract), extend, by_hand=classes)


def _declare_resource(changes: Changes, place: Place, one: str) -> None:
    resource, consumer = place.resource, f"{place.resource}_consumers.clear_creator_of_{place.resource}"
    events = [f"{one}{done}" for done in ("Created", "Updated", "Deleted")]

    def declare(module: Module) -> Module:
        module = module.with_import(place.contract, *events)
        module = module.with_import(place.package, f"api as {resource}_api")
        module = module.with_import(place.package, f"consumers as {resource}_consumers")
        module = module.with_element("service = Service", "routers", f"{resource}_api.router")
        for event in events:
            module = module.with_element("service = Service", "publishes", event)
        return module.with_element("service = Service", "consumers", consumer)

    changes.edit(
        place.folder / "__init__.py",
        declare,
        by_hand=f"from {place.package} import api as {resource}_api\n"
        f"from {place.package} import consumers as {resource}_consumers\n"
        f"service = Service(…, routers=[…, {resource}_api.router], publishes=[…, {', '.join(events)}], "
        f"consumers=[…, {consumer}])",
    )


def _only_service(project: Project) -> str:
    """Return the name of the project's service if it has one. Raises CommandError."""
    folder = project.path_of(f"{project.package}.services").with_suffix("")
    names = sorted(each.parent.name for each in folder.glob("*/__init__.py"))
    if len(names) != 1:
        advice = f"Name one: --service {names[0]}" if names else "Create one: portico new service items"
        raise CommandError(
            f"The project has {len(names) or 'no'} services{': ' if names else ''}{', '.join(names)}.", advice
        )
    return names[0]
