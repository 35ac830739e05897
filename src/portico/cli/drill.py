"""`portico drill`: a whole system with faults injected from a seed, and what must be true afterwards."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portico.kit.runtime.signals import INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

    from portico.drill import DrillSettings, Report
    from portico.drill.embedded import Progress
    from portico.drill.faults.plan import Kind
    from portico.kit.runtime.system import System

app = typer.Typer()

DRILLED = ("commerce",)
PLACES = ("embedded", "servers")

Rate = Annotated[
    float | None,
    typer.Option(
        help="The share of places at which something does; on servers, of orders after which something does.",
        min=0,
        max=0.5,
        show_default="0.03; on servers 0.15",
    ),
]
Place = Annotated[str, typer.Option(help="Where it runs: embedded, or servers.", metavar="|".join(PLACES))]


@app.command()
def drill(
    system: Annotated[str, typer.Argument(help="The system to drill.")] = "commerce",
    orders: Annotated[int, typer.Option(help="How many orders are placed.", min=1, max=1_000_000)] = 1000,
    seed: Annotated[int, typer.Option(help="Decides what goes wrong, and what customers want.")] = 7,
    seeds: Annotated[int, typer.Option(help="Drill so many seeds, from --seed on.", min=1, max=10_000)] = 1,
    faults: Annotated[
        str, typer.Option(help="What may go wrong.")
    ] = "crash,drop,duplicate,reorder,timeout,slow,database",
    rate: Rate = None,
    on: Place = "embedded",
) -> None:
    """Place orders while things go wrong, wait for quiet, and check that nothing was lost, sold or charged twice.

    The system runs in this process, on the embedded backends, in a temporary folder. Faults strike at commits,
    publishings, deliveries and calls between services; a service that crashes is started again. The same seed gives
    the same faults.

    With --on servers each part runs in a process of its own, on PostgreSQL, Redis and RabbitMQ that are started for it.
    crash: a process is killed (SIGKILL); drop: PostgreSQL, RabbitMQ or Redis is, and started again; database: all
    connections are cut; slow: a process is stopped for a second. duplicate, reorder and timeout are done by no server
    on demand and are left out there: they follow from the others.
    """
    from rich.console import Console

    from portico.drill import DrillSettings

    kinds = _kinds(system, on, faults)
    console = Console(highlight=False)
    kinds, share = (kinds, 0.03 if rate is None else rate) if on == "embedded" else _for_servers(console, kinds, rate)
    again = f"portico drill {system} --on {on} --orders {orders} --rate {share:g} --faults {faults}"
    drills = [DrillSettings(orders, number, kinds, share) for number in range(seed, seed + seeds)]
    _drill_all(console, system, on, drills, again)


def _kinds(system: str, on: str, faults: str) -> "tuple[Kind, ...]":
    """The faults that are asked for. Raises CommandError, also where there is no such drill."""
    from portico.cli.errors import CommandError
    from portico.drill.faults import UnknownFault, fault_kinds

    if system not in DRILLED:
        raise CommandError(f"There is no drill of {system!r}.", f"There is one of {', '.join(DRILLED)}.")
    if on not in PLACES:
        raise CommandError(f"--on {on} is no place to drill.", f"There is {' and '.join(PLACES)}.")
    try:
        return fault_kinds(faults)
    except UnknownFault as unknown:
        raise CommandError(str(unknown), "Name them as in --faults crash,drop.") from unknown


def _drill_all(console: "Console", system: str, on: str, drills: "list[DrillSettings]", again: str) -> None:
    """Drill one after the other, and tell. Raises typer.Exit where one failed."""
    failed = []
    for wanted in drills:
        report = _drilled(console, system, wanted, on)
        show(console, report, brief=len(drills) > 1)
        if not report.passed:
            failed.append(wanted.seed)
    if failed:
        said = f"Failed with seed {', '.join(map(str, failed))}."
        console.print(f"[bold red]✗ {said}[/] Again: {again} --seed {failed[0]}", soft_wrap=True)
        raise typer.Exit(1)
    if len(drills) > 1:
        console.print(f"[bold green]✓ All of {len(drills)} seeds passed.[/]")


def _for_servers(console: "Console", kinds: "tuple[Kind, ...]", rate: float | None) -> "tuple[tuple[Kind, ...], float]":
    """What can go wrong on servers, and how often. Raises CommandError."""
    import sys

    from portico.cli.errors import CommandError

    if sys.platform == "win32":
        raise CommandError("Portico starts servers on Linux and macOS only.", "Drill it --on embedded.")
    from portico.cli.drilling.strikes import DEFAULT_RATE, possible

    able = possible(kinds)
    if left_out := [kind for kind in kinds if kind not in able]:
        if not able:
            raise CommandError(
                f"Nothing that is done to servers causes {', '.join(left_out)} on demand.",
                "Name crash, drop, slow or database, or drill it --on embedded.",
            )
        console.print(f"[dim]Left out, since no server does it on demand: {', '.join(left_out)}.[/]")
    return able, DEFAULT_RATE if rate is None else rate


def _drilled(console: "Console", name: str, wanted: "DrillSettings", on: str) -> "Report":
    from portico.kit.telemetry.logs import Logs
    from portico.systems.commerce import commerce

    def progress(said: str) -> None:
        console.print(f"[dim]seed {wanted.seed}: {said}[/]", soft_wrap=True)

    logs = Logs.configure(level="critical", style="text")  # what was broken on purpose need not be told line by line
    try:
        if on == "embedded":
            return _drilled_embedded(commerce, wanted, progress)
        from portico.cli.drilling.telling import Interrupted, drilled_on_servers

        try:
            return drilled_on_servers(commerce, name, wanted, progress)
        except Interrupted:
            raise typer.Exit(INTERRUPTED) from None
    finally:
        logs.close()


def _drilled_embedded(system: "System", wanted: "DrillSettings", progress: "Progress") -> "Report":
    import asyncio
    import tempfile

    from portico.drill import run_embedded

    with tempfile.TemporaryDirectory(prefix="portico-drill-") as folder:
        return asyncio.run(run_embedded(system, wanted, Path(folder), progress=progress))


def show(console: "Console", report: "Report", *, brief: bool) -> None:
    """Print what a drill did and found."""
    from rich.table import Table

    ended = ", ".join(f"{number} {status}" for status, number in sorted(report.orders.items()))
    mark = "[bold green]✓[/]" if report.passed else "[bold red]✗[/]"
    total = f"{report.injected.total()} faults at {report.points} places, {report.crashes} crashes"
    console.print(f"{mark} seed {report.seed}: {ended}; {total}; {report.seconds:.0f} s", soft_wrap=True)
    if not brief or not report.passed:
        injected = Table("injected", "times", box=None, header_style="bold", padding=(0, 2, 0, 2))
        for what, number in report.injected.items():
            injected.add_row(what, str(number))
        console.print(injected)
        broken = {breach.rule for breach in report.breaches}
        checked = Table("what must be true", "looked at", "", box=None, header_style="bold", padding=(0, 2, 0, 2))
        for rule, number in report.checked.items():
            checked.add_row(rule, str(number), "[red]broken[/]" if rule in broken else "[green]holds[/]")
        console.print(checked)
    for breach in report.breaches[:20]:
        about = f" ({breach.order_id})" if breach.order_id else ""
        console.print(f"  [red]{breach.rule}[/]: {breach.said}{about}", soft_wrap=True)
    if len(report.breaches) > 20:  # noqa: PLR2004  # more of the same
        console.print(f"  … and {len(report.breaches) - 20} more")
    if report.story:
        console.print("  The shortest story of an order that broke:")
        for line in report.story:
            console.print(f"    {line}", markup=False, soft_wrap=True)
