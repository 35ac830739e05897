"""`portico explain`: what the gateway makes of a request, and why."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def explain(
    method: Annotated[str, typer.Argument(help="GET, POST and so on; WEBSOCKET for a handshake.")],
    path: Annotated[str, typer.Argument(help="The path, with a query if there is one.")],
    token: Annotated[
        str | None,
        typer.Option(help="The caller's access token, of which identity is asked; - reads it from standard input."),
    ] = None,
    header: Annotated[list[str] | None, typer.Option(help="A header, 'name: value'. May be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    system: Annotated[str | None, typer.Option(help="The system; the one in force if none is named.")] = None,
) -> None:
    """Print what the gateway decides on a request, with its reasons. Nothing is sent, and nothing is counted.

    Nothing needs to run, unless the request carries a token: identity says whose it is.
    """
    import asyncio
    import sys

    from portico.cli.decisions import decide, head_of, show

    if token == "-":  # noqa: S105 it stands for standard input: every process can read an argument
        token = sys.stdin.readline().strip()
    asked = head_of(method, path, token, header or [])
    show(asyncio.run(decide(asked, system)), as_json=as_json)
