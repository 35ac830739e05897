"""`portico openapi`: what a system or a service says of its API."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def openapi(
    name: Annotated[str | None, typer.Argument(help="A system, or a service of the system in force.")] = None,
    system: Annotated[str | None, typer.Option(help="The system that the service belongs to.")] = None,
) -> None:
    """Print the OpenAPI document, as it is served at /openapi.json. Nothing needs to run."""
    import asyncio
    import sys

    from portico.cli.documents import document

    sys.stdout.buffer.write(asyncio.run(document(name, system)) + b"\n")
