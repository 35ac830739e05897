"""`portico openapi`: the OpenAPI document of a system or a service."""

from typing import Annotated, Any

import typer

app = typer.Typer()

_TIMEOUT = 30.0  # seconds


@app.command()
def openapi(
    name: Annotated[str | None, typer.Argument(help="A system, or a service of the current system.")] = None,
    system: Annotated[str | None, typer.Option(help="The system that the service belongs to.")] = None,
) -> None:
    """Print the OpenAPI document that is served at /openapi.json. The system need not run."""
    import asyncio
    import sys

    import orjson

    document = asyncio.run(fetch_document(name, system))
    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


async def fetch_document(name: str | None, system: str | None) -> dict[str, Any]:
    """Open the service in a temporary folder, and ask it for its document. Raises NoSuchSystem, NoSuchService."""
    from tempfile import TemporaryDirectory

    import orjson

    from portico.cli.environment import current_settings, find_system_or_service, logs_on_stderr
    from portico.kit.calls.channel import Outgoing
    from portico.kit.calls.local import LocalChannel
    from portico.kit.runtime.system import GATEWAY
    from portico.kit.settings import Environment
    from portico.systems.composition import Composition

    found, service = find_system_or_service(name, system)
    part = service or GATEWAY
    with TemporaryDirectory() as folder, logs_on_stderr(current_settings(), "warning"):
        environment = Environment({"DATA_DIR": folder})
        parts = None if part == GATEWAY else [part]
        async with Composition(found, environment, parts=parts, background=False) as composition:
            channel = LocalChannel(composition.apps)
            request = Outgoing(service=part, method="GET", path="/openapi.json", timeout=_TIMEOUT)
            response = await channel.send(request)
            await channel.aclose()
    document: dict[str, Any] = orjson.loads(response.body)
    return document
