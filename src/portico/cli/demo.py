"""`portico demo`: a walk through a whole system with real data."""

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()

WALKS = ("catalog",)


@app.command()
def demo(
    system: str = typer.Argument("catalog", help="The system to walk through."),
    url: str = typer.Option("", "--url", help="Walk a system that runs already: its gateway's address."),
    products: int = typer.Option(5000, "--products", min=100, max=1_000_000, help="How many products to load."),
) -> None:
    """Walk through a system: print each call and what came back, and fail where something is not as it should be.

    It starts the system by itself, in a temporary folder on free ports, unless --url names one that runs.
    """
    import asyncio

    from rich.console import Console

    from portico.cli.errors import CommandError

    if system not in WALKS:
        raise CommandError(f"There is no demo of {system!r}.", f"There is one of {', '.join(WALKS)}.")
    console = Console(highlight=False)
    if not asyncio.run(_walk(console, url.rstrip("/"), products)):
        raise typer.Exit(1)


async def _walk(console: "Console", url: str, products: int) -> bool:
    """Walk, and say how it ended; whether all was as it should be."""
    from rich.text import Text

    from portico.cli.demos.catalog import walk_catalog
    from portico.cli.demos.walking import NotAsItShouldBe, Walk

    if not url:
        console.print("Starting the catalog system: three processes, embedded databases, free ports …")
    async with _system(url) as own, Walk(console, url or own.gateway) as walk:
        try:
            await walk_catalog(walk, products=products, own=own)
        except NotAsItShouldBe as error:
            console.print()
            console.print(Text(f"✗ {error}", style="bold red"), soft_wrap=True)
            return False
        console.print()
        console.print(Text("✓ All of it is as it should be: ", style="bold green"), walk.summary(), sep="")
        if own is None:
            console.print(Text("  (Stopping identity was left out: the system is not the demo's own.)", style="dim"))
        return True


def _system(url: str) -> AbstractAsyncContextManager[Any]:
    from portico.cli.demos.starting import own_system

    return nullcontext(None) if url else own_system()
