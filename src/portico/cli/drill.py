"""`portico drill`: a whole system with faults injected from a seed, and what must be true afterwards."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from portico.systems.drill import DrillSettings, Report

app = typer.Typer()

DRILLED = ("commerce",)


@app.command()
def drill(
    system: Annotated[str, typer.Argument(help="The system to drill.")] = "commerce",
    orders: Annotated[int, typer.Option(help="How many orders are placed.", min=1, max=1_000_000)] = 1000,
    seed: Annotated[int, typer.Option(help="Decides what goes wrong, and what customers want.")] = 7,
    seeds: Annotated[int, typer.Option(help="Drill so many seeds, from --seed on.", min=1, max=10_000)] = 1,
    faults: Annotated[
        str, typer.Option(help="What may go wrong.")
    ] = "crash,drop,duplicate,reorder,timeout,slow,database",
    rate: Annotated[float, typer.Option(help="The share of places at which something does.", min=0, max=0.5)] = 0.03,
) -> None:
    """Place orders while things go wrong, wait for quiet, and check that nothing was lost, sold or charged twice.

    The system runs in this process, on the embedded backends, in a temporary folder. Faults strike at commits,
    publishings, deliveries and calls between services; a service that crashes is started again. The same seed gives
    the same faults.
    """
    import asyncio

    from rich.console import Console

    from portico.cli.errors import CommandError
    from portico.kit.testing.faults import UnknownFault, fault_kinds
    from portico.systems.drill import DrillSettings

    if system not in DRILLED:
        raise CommandError(f"There is no drill of {system!r}.", f"There is one of {', '.join(DRILLED)}.")
    try:
        kinds = fault_kinds(faults)
    except UnknownFault as unknown:
        raise CommandError(str(unknown), "Name them as in --faults crash,drop.") from unknown
    console = Console(highlight=False)
    failed = []
    for number in range(seed, seed + seeds):
        wanted = DrillSettings(orders=orders, seed=number, faults=kinds, rate=rate)
        report = asyncio.run(_drilled(console, wanted))
        show(console, report, brief=seeds > 1)
        if not report.passed:
            failed.append(number)
    if failed:
        again = f"portico drill {system} --orders {orders} --rate {rate} --faults {faults} --seed {failed[0]}"
        console.print(f"[bold red]✗ Failed with seed {', '.join(map(str, failed))}.[/] Again: {again}", soft_wrap=True)
        raise typer.Exit(1)
    if seeds > 1:
        console.print(f"[bold green]✓ All of {seeds} seeds passed.[/]")


async def _drilled(console: "Console", wanted: "DrillSettings") -> "Report":
    import tempfile

    from portico.kit.telemetry.logs import Logs
    from portico.systems.commerce import commerce
    from portico.systems.drill import run_embedded

    logs = Logs.configure(level="critical", style="text")  # what was broken on purpose need not be told line by line
    try:
        with tempfile.TemporaryDirectory(prefix="portico-drill-") as folder:
            return await run_embedded(
                commerce,
                wanted,
                Path(folder),
                progress=lambda said: console.print(f"[dim]seed {wanted.seed}: {said}[/]", soft_wrap=True),
            )
    finally:
        logs.close()


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
