"""`portico demo`: a walkthrough of a whole system with real data."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from portico.demo.accounts import Account
    from portico.demo.supervised_system import SupervisedSystem
    from portico.demo.walkthrough import Walk

app = typer.Typer()

SYSTEMS = ("commerce", "catalog", "ticketing")
PRODUCTS = {"commerce": 1000, "catalog": 5000}
CUSTOMERS = {"commerce": 100, "ticketing": 3000}
PICTURE = "ticketing-hall.svg"


Products = Annotated[
    int | None,
    typer.Option(help="The number of products to load.", min=100, max=1_000_000, show_default="1000, of catalog 5000"),
]
Customers = Annotated[
    int | None,
    typer.Option(help="The number of concurrent customers.", min=5, max=10_000, show_default="100, of ticketing 3000"),
]
OwnServers = Annotated[
    bool, typer.Option("--servers", help="Start the system on private servers, with a process for each part.")
]
OwnDatabase = Annotated[Literal["postgresql", "mariadb"], typer.Option(help="The database server of --servers.")]
Kill = Annotated[
    bool, typer.Option("--kill", help="Kill a process of each kind of commerce while customers place orders.")
]


@dataclass(frozen=True)
class Options:
    """The options of the command."""

    system: str
    url: str
    products: int
    customers: int
    email: str
    password: str
    servers: bool
    database: Literal["postgresql", "mariadb"]
    kill: bool


@app.command()
def demo(
    system: Annotated[str, typer.Argument(help="The system.")] = "commerce",
    url: Annotated[str, typer.Option(help="Address of the gateway of a running system, to use that.")] = "",
    products: Products = None,
    customers: Customers = None,
    email: Annotated[str, typer.Option(envvar="ADMIN_EMAIL", help="Account with staff permissions, with --url.")] = "",
    password: Annotated[str, typer.Option(envvar="ADMIN_PASSWORD", help="Its password.")] = "",
    servers: OwnServers = False,
    database: OwnDatabase = "postgresql",
    kill: Kill = False,
) -> None:
    """Use a system as its clients do: print each request and its response, and fail if a response is not as promised.

    The demo starts the system in a temporary folder on free ports, unless --url names a running one.
    """
    import asyncio

    from rich.console import Console

    from portico.kit.runtime.signals import INTERRUPTED, Interrupted, run_until_interrupted

    options = Options(
        system,
        url.rstrip("/"),
        products or PRODUCTS.get(system, 0),
        customers or CUSTOMERS.get(system, 0),
        email,
        password,
        servers,
        database,
        kill,
    )
    _check(options)
    _check_applies("--products", products is not None, system, PRODUCTS)
    _check_applies("--customers", customers is not None, system, CUSTOMERS)
    try:
        passed = asyncio.run(run_until_interrupted(_run(Console(highlight=False), options)))
    except Interrupted:
        raise typer.Exit(INTERRUPTED) from None
    if not passed:
        raise typer.Exit(1)


def _check_applies(option: str, is_given: bool, system: str, applies_to: Mapping[str, int]) -> None:
    """Raise CommandError if an option is given that the demo of the system does not use."""
    from portico.kit.foundation.errors import CommandError

    if is_given and system not in applies_to:
        raise CommandError(f"The demo of {system} has no {option}.", f"It is for {' and '.join(applies_to)}. Omit it.")


def _check(options: Options) -> None:
    """Raise CommandError if options are invalid or exclude each other."""
    from portico.cli.up import check_database_is_used
    from portico.kit.foundation.errors import CommandError

    if options.system not in SYSTEMS:
        raise CommandError(f"There is no demo of {options.system!r}.", f"Known: {', '.join(SYSTEMS)}.")
    if options.url and not options.url.startswith(("http://", "https://")):
        raise CommandError(f"--url {options.url} is not a URL.", "Begin it with http:// or https://.")
    if options.servers and (options.url or options.system == "catalog"):
        raise CommandError(
            "--servers needs a commerce or ticketing system that the demo starts.",
            "Run it without --url: portico demo commerce --servers",
        )
    check_database_is_used(options.database, servers=options.servers)
    if options.kill and (options.url or options.system != "commerce"):
        raise CommandError(
            "--kill needs a commerce system that the demo starts.", "Run it without --url: portico demo commerce --kill"
        )
    if options.url and options.system != "catalog" and not (options.email and options.password):
        raise CommandError(
            f"The demo of {options.system} needs an account with staff permissions.",
            "Give --email and --password, or set ADMIN_EMAIL and ADMIN_PASSWORD.",
        )


async def _run(console: "Console", options: Options) -> bool:
    """Run the walkthrough, and print its result. Return whether it passed."""
    from rich.text import Text

    from portico.gateway_client import ExpectationFailed

    walk_system = {"commerce": _walk_commerce, "catalog": _walk_catalog, "ticketing": _walk_ticketing}[options.system]
    try:
        async with walk_system(console, options) as (walk, left_out):
            console.print()
            console.print(Text("✓ Every response is as promised: ", style="bold green"), walk.summary(), sep="")
            if left_out:
                console.print(Text(f"  ({left_out})", style="dim"))
    except ExpectationFailed as error:
        console.print()
        console.print(Text(f"✗ {error}", style="bold red"), soft_wrap=True)
        return False
    return True


@asynccontextmanager
async def _walk_catalog(console: "Console", options: Options) -> AsyncIterator[tuple["Walk", str]]:
    from contextlib import AsyncExitStack

    from portico.demo.catalog import walk_catalog
    from portico.demo.own_system import start_own_system
    from portico.demo.walkthrough import Walk

    async with AsyncExitStack() as stack:
        own = None
        if not options.url:
            console.print("Starting the catalog system: three processes, embedded databases, free ports …")
            own = await stack.enter_async_context(start_own_system())
        walk = await stack.enter_async_context(Walk(console, own.gateway if own else options.url))
        await walk_catalog(walk, products=options.products, own=own)
        yield walk, "" if own else "Identity was not stopped, because the demo did not start the system."


@asynccontextmanager
async def _walk_commerce(console: "Console", options: Options) -> AsyncIterator[tuple["Walk", str]]:
    from portico.demo.commerce import Scope, walk_commerce

    async with _started(console, options, {}) as (walk, staff, own):
        await walk_commerce(walk, Scope(options.products, options.customers, options.kill), staff, own)
        yield walk, ""


@asynccontextmanager
async def _walk_ticketing(console: "Console", options: Options) -> AsyncIterator[tuple["Walk", str]]:
    from pathlib import Path

    from portico.demo.ticketing import SETTINGS, walk_ticketing

    async with _started(console, options, SETTINGS) as (walk, staff, own):
        await walk_ticketing(walk, buyers=options.customers, staff=staff, own=own, picture=Path(PICTURE))
        yield walk, ""


@asynccontextmanager
async def _started(
    console: "Console", options: Options, settings: Mapping[str, str]
) -> AsyncIterator[tuple["Walk", "Account", "SupervisedSystem | None"]]:
    """Start the system with these settings unless --url names a running one."""
    from contextlib import AsyncExitStack

    from portico.demo.accounts import Account
    from portico.demo.supervised_system import start_system
    from portico.demo.walkthrough import Walk

    async with AsyncExitStack() as stack:
        own, staff = None, Account(options.email, options.password)
        if not options.url:
            names = {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}
            database = options.database if options.servers else None
            on = (
                f"{names[database]}, Redis and RabbitMQ, a process for each part"
                if database
                else "one process, embedded"
            )
            console.print(f"Starting the {options.system} system: {on}, free ports …")
            own = await stack.enter_async_context(start_system(options.system, database=database, settings=settings))
            staff = own.staff
        yield await stack.enter_async_context(Walk(console, own.gateway if own else options.url)), staff, own
