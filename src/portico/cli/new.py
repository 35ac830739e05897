"""`portico new`: write a project, a service or a resource, with migration, events, consumer and tests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from portico.cli.project import Project
    from portico.cli.scaffold.changes import Changes

app = typer.Typer(no_args_is_help=True, help="Write a project, a service or a resource, with its tests.")

Singular = Annotated[str | None, typer.Option(help="The name of one, if it is not the name without an s.")]
Role = Annotated[str, typer.Option(help="The role that may write.")]


@app.command()
def project(
    name: Annotated[str, typer.Argument(help="The name of its package and system, such as shop.")],
    folder: Annotated[Path | None, typer.Argument(help="Where it is written; a folder of its name if omitted.")] = None,
) -> None:
    """Write a project: a system of shipped services, to which you add your own."""
    from portico.cli.scaffold.project import new_project

    target = folder or Path(name)
    _write(new_project(name, target))
    print(f"\nNext: cd {target}, portico new service items, portico up")


@app.command()
def service(
    name: Annotated[str, typer.Argument(help="A noun in the plural, such as items.")],
    singular: Singular = None,
    role: Role = "staff",
) -> None:
    """Write a service of this project, with one resource of its name, and register it in the system."""
    from portico.cli.scaffold.service import new_service

    _write(new_service(_current_project(), name, singular=singular, role=role))
    print(f"\nNext: pytest, portico up, curl localhost:8000/{name.replace('_', '-')}")


@app.command()
def resource(
    name: Annotated[str, typer.Argument(help="A noun in the plural, such as brands.")],
    service: Annotated[str | None, typer.Option(help="Its service; needed if the project has several.")] = None,
    singular: Singular = None,
    role: Role = "staff",
) -> None:
    """Write another resource of a service: table, migration, endpoints, events, consumer and tests."""
    from portico.cli.scaffold.service import new_resource

    _write(new_resource(_current_project(), name, service=service, singular=singular, role=role))
    print("\nNext: pytest, portico up")


def _write(changes: "Changes") -> None:
    for line in changes.write():
        print(line)


def _current_project() -> "Project":
    """Return the project in the working directory. Raises CommandError."""
    from portico.cli.project import Project
    from portico.kit.foundation.errors import CommandError

    if (found := Project.here()) is not None:
        return found
    raise CommandError(
        "There is no Portico project in this folder.",
        "Create one with `portico new project shop`, then run the command in its folder.",
    )
