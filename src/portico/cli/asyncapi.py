"""`portico asyncapi`: the events that a system or a service publishes and handles."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def asyncapi(
    name: Annotated[str | None, typer.Argument(help="A system, or a service of the current system.")] = None,
    system: Annotated[str | None, typer.Option(help="The system that the service belongs to.")] = None,
) -> None:
    """Print the AsyncAPI 3.0 document. The system need not run."""
    import orjson

    from portico.cli.environment import find_system_or_service
    from portico.kit.runtime.asyncapi import asyncapi as document

    found, service = find_system_or_service(name, system)
    print(orjson.dumps(document(found, None if service is None else [service]), option=orjson.OPT_INDENT_2).decode())
