"""`portico demo`: a walk through a whole system with real data."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from portico.demo.walkthrough import Walk

app = typer.Typer()

WALKS = ("commerce", "catalog")
PRODUCTS = {"commerce": 1000, "catalog": 5000}


@dataclass(frozen=True)
class Tour:
    """What the command line asks for."""

    system: str
    url: str
    products: int
    customers: int
    email: str
    password: str
    servers: bool
    kill: bool


@app.command()
def demo(
    system: Annotated[str, typer.Argument(help="The system to walk through.")] = "commerce",
    url: Annotated[str, typer.Option(help="Walk a system that runs already: its gateway's address.")] = "",
    products: Annotated[
        int | None,
        typer.Option(help="How many products to load.", min=100, max=1_000_000, show_default="1000, of catalog 5000"),
    ] = None,
    customers: Annotated[int, typer.Option(help="How many order at once, in commerce.", min=5, max=10_000)] = 100,
    email: Annotated[
        str, typer.Option(envvar="ADMIN_EMAIL", help="Who has staff rights in commerce, with --url.")
    ] = "",
    password: Annotated[str, typer.Option(envvar="ADMIN_PASSWORD", help="Their password.")] = "",
    servers: Annotated[
        bool, typer.Option("--servers", help="Start commerce on servers of its own, in a process for each part.")
    ] = False,
    kill: Annotated[
        bool, typer.Option("--kill", help="Kill a process of each kind while customers of commerce order.")
    ] = False,
) -> None:
    """Walk through a system: print each call and what came back, and fail where something is not as it should be.

    It starts the system by itself, in a temporary folder on free ports, unless --url names one that runs.
    """
    import asyncio

    from rich.console import Console

    tour = Tour(system, url.rstrip("/"), products or PRODUCTS.get(system, 0), customers, email, password, servers, kill)
    _check(tour)
    if not asyncio.run(_walk(Console(highlight=False), tour)):
        raise typer.Exit(1)


def _check(tour: Tour) -> None:
    """Raises CommandError where the options do not go together."""
    from portico.cli.errors import CommandError

    if tour.system not in WALKS:
        raise CommandError(f"There is no demo of {tour.system!r}.", f"There is one of {', '.join(WALKS)}.")
    if tour.url and not tour.url.startswith(("http://", "https://")):
        raise CommandError(f"--url {tour.url} is no address.", "Begin it with http:// or https://.")
    if (tour.servers or tour.kill) and (tour.url or tour.system != "commerce"):
        raise CommandError(
            "--servers and --kill are for a commerce system that the demo starts itself.",
            "Leave out --url: portico demo commerce --servers --kill",
        )
    if tour.url and tour.system == "commerce" and not (tour.email and tour.password):
        raise CommandError(
            "Loading stock and shipping orders takes staff rights.",
            "Give --email and --password, or set ADMIN_EMAIL and ADMIN_PASSWORD.",
        )


async def _walk(console: "Console", tour: Tour) -> bool:
    """Walk, and say how it ended; whether all was as it should be."""
    from rich.text import Text

    from portico.demo.walkthrough import NotAsItShouldBe

    through = _through_commerce if tour.system == "commerce" else _through_catalog
    try:
        async with through(console, tour) as (walk, left_out):
            console.print()
            console.print(Text("✓ All of it is as it should be: ", style="bold green"), walk.summary(), sep="")
            if left_out:
                console.print(Text(f"  ({left_out})", style="dim"))
    except NotAsItShouldBe as error:
        console.print()
        console.print(Text(f"✗ {error}", style="bold red"), soft_wrap=True)
        return False
    return True


@asynccontextmanager
async def _through_catalog(console: "Console", tour: Tour) -> AsyncIterator[tuple["Walk", str]]:
    from contextlib import AsyncExitStack

    from portico.demo.catalog import walk_catalog
    from portico.demo.starting import own_system
    from portico.demo.walkthrough import Walk

    async with AsyncExitStack() as stack:
        own = None
        if not tour.url:
            console.print("Starting the catalog system: three processes, embedded databases, free ports …")
            own = await stack.enter_async_context(own_system())
        walk = await stack.enter_async_context(Walk(console, own.gateway if own else tour.url))
        await walk_catalog(walk, products=tour.products, own=own)
        yield walk, "" if own else "Stopping identity was left out: the system is not the demo's own."


@asynccontextmanager
async def _through_commerce(console: "Console", tour: Tour) -> AsyncIterator[tuple["Walk", str]]:
    from contextlib import AsyncExitStack

    from portico.demo.commerce import Visit, walk_commerce
    from portico.demo.own_shop import own_shop
    from portico.demo.people import Person
    from portico.demo.walkthrough import Walk

    async with AsyncExitStack() as stack:
        own, staff = None, Person(tour.email, tour.password)
        if not tour.url:
            on = "PostgreSQL, Redis and RabbitMQ, a process for each part" if tour.servers else "one process, embedded"
            console.print(f"Starting the commerce system: {on}, free ports …")
            own = await stack.enter_async_context(own_shop(servers=tour.servers))
            staff = own.staff
        walk = await stack.enter_async_context(Walk(console, own.gateway if own else tour.url))
        await walk_commerce(walk, Visit(tour.products, tour.customers, tour.kill), staff, own)
        yield walk, ""
