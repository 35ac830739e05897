"""`portico drill`: run a whole system with faults injected from a seed, and check its invariants."""

from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portico.kit.foundation.errors import CommandError
from portico.kit.runtime.signals import INTERRUPTED, Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from portico.drill import DrillSettings, Report
    from portico.drill.faults.plan import Kind
    from portico.drill.setup import OnDone, Progress
    from portico.kit.runtime.fork_server import ForkServer
    from portico.kit.runtime.system import System

app = typer.Typer()

SYSTEMS = ("commerce", "ticketing")
PLACES = ("embedded", "servers")
DEFAULT_RATE_EMBEDDED = 0.03
WORKER = "portico.cli.drill_worker:main"
_MAX_BREACHES = 20
_QUARTERS = 4

Rate = Annotated[
    float | None,
    typer.Option(
        help="The share of places at which a fault occurs; on servers, the share of orders after which one occurs.",
        min=0,
        max=0.5,
        show_default="0.03; on servers 0.15",
    ),
]
Place = Annotated[str, typer.Option(help="Where the system runs: embedded, or servers.", metavar="|".join(PLACES))]


@app.command()
def drill(
    system: Annotated[str, typer.Argument(help="The system to drill.")] = "commerce",
    orders: Annotated[int, typer.Option(help="The number of orders of commerce.", min=1, max=1_000_000)] = 1000,
    buyers: Annotated[int, typer.Option(help="The number of buyers of ticketing.", min=1, max=100_000)] = 2000,
    seats: Annotated[int, typer.Option(help="The number of seats that they compete for.", min=20, max=50_000)] = 300,
    seed: Annotated[int, typer.Option(help="Determines the faults, and what users do.")] = 7,
    seeds: Annotated[int, typer.Option(help="The number of seeds to drill, from --seed on.", min=1, max=10_000)] = 1,
    faults: Annotated[
        str, typer.Option(help="The kinds of faults.")
    ] = "crash,drop,duplicate,reorder,timeout,slow,database",
    rate: Rate = None,
    on: Place = "embedded",
) -> None:
    """Order or book while faults occur, wait until all work is done, and check that nothing was lost, oversold or charged twice.

    The system runs in this process, on the embedded backends, in a temporary folder. Faults occur at commits,
    publications, deliveries, calls between services, single items of batched calls and cohorts of sagas. A service
    that crashes is restarted. The same seed gives the same faults.

    With --on servers each part runs in its own process, on private PostgreSQL, Redis and RabbitMQ servers.
    crash: a process is killed (SIGKILL); drop: PostgreSQL, RabbitMQ or Redis is killed and restarted; database: all
    connections are terminated; slow: a process is paused for one second. Of these, crash, drop and slow occur inside
    batched calls and cohorts of sagas too, at a fifth of the rate. duplicate, reorder and timeout cannot be
    caused on servers and are left out there: they follow from the others.
    """
    from rich.console import Console

    from portico.drill import DrillSettings

    kinds = _read_kinds(system, on, faults)
    console = Console(highlight=False)
    if on == "embedded":
        rate = DEFAULT_RATE_EMBEDDED if rate is None else rate
    else:
        kinds, rate = _limit_to_servers(console, kinds, rate)
    actions, size = (
        (orders, f"--orders {orders}") if system == "commerce" else (buyers, f"--buyers {buyers} --seats {seats}")
    )
    command = f"portico drill {system} --on {on} {size} --rate {rate:g} --faults {faults}"
    drills = [DrillSettings(actions, seats, number, kinds, rate) for number in range(seed, seed + seeds)]
    with nullcontext() if on == "embedded" else _fork_server(system) as server:
        _drill_all(console, system, drills, command, server)


def _fork_server(system: str) -> "ForkServer":
    from portico.cli.worker import start_fork_server
    from portico.kit.runtime.system_loader import find_system

    find_system(system)  # imports it
    return start_fork_server()


def _read_kinds(system: str, on: str, faults: str) -> "tuple[Kind, ...]":
    """Return the kinds of faults in the options. Raises CommandError if an option is invalid."""
    from portico.drill.faults import UnknownFault, fault_kinds

    if system not in SYSTEMS:
        raise CommandError(f"There is no drill of {system!r}.", f"Known: {', '.join(SYSTEMS)}.")
    if on not in PLACES:
        raise CommandError(f"--on {on} is not a place to drill.", f"Known: {', '.join(PLACES)}.")
    try:
        return fault_kinds(faults)
    except UnknownFault as unknown:
        raise CommandError(str(unknown), "Name them as in --faults crash,drop.") from unknown


def _limit_to_servers(
    console: "Console", kinds: "tuple[Kind, ...]", rate: float | None
) -> "tuple[tuple[Kind, ...], float]":
    """Return the kinds that can be caused on servers, and their rate. Raises CommandError if there are none."""
    import sys

    if sys.platform == "win32":
        raise CommandError("Portico starts servers on Linux and macOS only.", "Use --on embedded.")
    from portico.drill.fault_schedule import DEFAULT_RATE, feasible_kinds

    feasible = feasible_kinds(kinds)
    if left_out := ", ".join(kind for kind in kinds if kind not in feasible):
        if not feasible:
            raise CommandError(
                f"Faults that cannot be caused on servers: {left_out}.",
                "Name crash, drop, slow or database, or use --on embedded.",
            )
        console.print(f"[dim]Left out, because they cannot be caused on servers: {left_out}.[/]")
    return feasible, DEFAULT_RATE if rate is None else rate


def _drill_all(
    console: "Console", system: str, drills: "list[DrillSettings]", command: str, server: "ForkServer | None"
) -> None:
    """Run the drills one after the other, and print their reports. Raises typer.Exit if one failed.

    Args:
        console: where the reports are printed.
        system: the name of the system.
        drills: what to do.
        command: repeats a drill.
        server: starts the processes of drills on servers; None for embedded drills.
    """
    failed = []
    for settings in drills:
        report = _run_drill(console, system, settings, server)
        print_report(console, report, brief=len(drills) > 1)
        if not report.passed:
            failed.append(settings.seed)
    if failed:
        summary = f"Failed with seed {', '.join(map(str, failed))}."
        console.print(f"[bold red]✗ {summary}[/] Repeat: {command} --seed {failed[0]}", soft_wrap=True)
        raise typer.Exit(1)
    if len(drills) > 1:
        console.print(f"[bold green]✓ All {len(drills)} seeds passed.[/]")


def _run_drill(console: "Console", system: str, settings: "DrillSettings", server: "ForkServer | None") -> "Report":
    from portico.kit.runtime.system_loader import find_system
    from portico.kit.telemetry.logs import Logs

    found = find_system(system)

    def progress(message: str) -> None:
        console.print(f"[dim]seed {settings.seed}: {message}[/]", soft_wrap=True)

    logs = Logs.configure(level="critical", style="text")  # errors caused by injected faults are not printed
    try:
        with count_actions(console, system, settings) as done:
            if server is None:
                return _run_embedded(found, settings, progress, done)
            from portico.drill.distributed import drill_on_private_servers
            from portico.drill.part_processes import Worker

            return drill_on_private_servers(found, Worker(WORKER, system, server), settings, progress, done)
    except Interrupted:
        raise typer.Exit(INTERRUPTED) from None
    finally:
        logs.close()


@contextmanager
def count_actions(console: "Console", system: str, settings: "DrillSettings") -> "Iterator[OnDone]":
    """Show how many actions are done: as a bar on a terminal, otherwise a line for each quarter of them."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from portico.drill.scenarios import SCENARIOS

    actions = SCENARIOS[system].actions
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(f"seed {settings.seed}: {actions}", total=settings.orders)
            yield lambda done: bar.update(task, completed=done)
        return

    def print_quarter(done: int) -> None:
        if _QUARTERS * done // settings.orders > _QUARTERS * (done - 1) // settings.orders:
            console.print(f"seed {settings.seed}: {done} of {settings.orders} {actions} done", soft_wrap=True)

    yield print_quarter


def _run_embedded(system: "System", settings: "DrillSettings", progress: "Progress", on_done: "OnDone") -> "Report":
    import asyncio
    import tempfile

    from portico.drill import run_embedded

    with tempfile.TemporaryDirectory(prefix="portico-drill-") as folder:
        return asyncio.run(run_embedded(system, settings, Path(folder), progress=progress, on_done=on_done))


def print_report(console: "Console", report: "Report", *, brief: bool) -> None:
    """Print what a drill did and found; `brief` prints one line if it passed."""
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(report.outcomes.items()))
    mark = "[bold green]✓[/]" if report.passed else "[bold red]✗[/]"
    faults = f"{report.injected.total()} faults at {report.points} places, {report.crashes} crashes"
    console.print(f"{mark} seed {report.seed}: {statuses}; {faults}; {report.seconds:.0f} s", soft_wrap=True)
    if not brief or not report.passed:
        _print_tables(console, report)
    for breach in report.breaches[:_MAX_BREACHES]:
        subject = f" ({breach.subject})" if breach.subject else ""
        console.print(f"  [red]{breach.invariant}[/]: {breach.message}{subject}", soft_wrap=True)
    if len(report.breaches) > _MAX_BREACHES:
        console.print(f"  … and {len(report.breaches) - _MAX_BREACHES} more")
    if report.history:
        console.print("  The shortest history of what broke an invariant:")
        for line in report.history:
            console.print(f"    {line}", markup=False, soft_wrap=True)


def _print_tables(console: "Console", report: "Report") -> None:
    from rich.table import Table

    injected = Table("fault", "times", box=None, header_style="bold", padding=(0, 2, 0, 2))
    for what, number in report.injected.items():
        injected.add_row(what, str(number))
    console.print(injected)
    broken = {breach.invariant for breach in report.breaches}
    checked = Table("invariant", "checked", "", box=None, header_style="bold", padding=(0, 2, 0, 2))
    for invariant, number in report.checked.items():
        checked.add_row(invariant, str(number), "[red]broken[/]" if invariant in broken else "[green]holds[/]")
    console.print(checked)
