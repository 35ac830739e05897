"""`portico dead-letters`: events that a consumer could not handle."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from portico.cli.letters import Letters

app = typer.Typer(
    no_args_is_help=True, help="Look at events that a consumer could not handle; try them again, or give them up."
)

System = Annotated[str | None, typer.Option("--system", help="The system; the one in force if none is named.")]
Services = Annotated[
    list[str] | None, typer.Option("--service", help="Whose; of all services if none is named. May be repeated.")
]
Consumer = Annotated[str | None, typer.Option(help="Only those that this consumer could not handle.")]
Type = Annotated[str | None, typer.Option("--type", help="Only events of this type, such as order.created.")]
Cause = Annotated[str | None, typer.Option(help="Only those that failed for this cause, as listed.")]
Aggregate = Annotated[str | None, typer.Option(help="Only events about this, such as ord_….")]
Since = Annotated[str | None, typer.Option(help="Only those that failed since then: 15m, 24h, 2026-01-31T12:00:00Z.")]
Waiting = Annotated[bool, typer.Option("--waiting", help="Those that still wait to be tried, instead.")]
Named = Annotated[
    list[str] | None, typer.Argument(help="Dead letters as they are listed: orders/17.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All there are.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.callback()
def dead_letters() -> None:
    """Look at events that a consumer could not handle, or the broker would not take; try them again, or give them up."""


@app.command("list")
def list_(
    *,
    consumer: Consumer = None,
    kind: Type = None,
    cause: Cause = None,
    aggregate: Aggregate = None,
    since: Since = None,
    waiting: Waiting = False,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 50,
    after: Annotated[str | None, typer.Option(help="Go on behind this one, such as orders/17.")] = None,
    as_json: AsJson = False,
    service: Services = None,
    system: System = None,
) -> None:
    """List dead letters, service by service, the oldest first."""
    from portico.cli.letters import choice_of, list_letters

    choice = choice_of((), consumer, kind, cause, aggregate, since, waiting=waiting)
    asyncio.run(list_letters(_where(system, service), choice, limit=limit, after=after, as_json=as_json))


@app.command()
def show(
    letter: Annotated[str, typer.Argument(help="The dead letter as it is listed: orders/17.")],
    as_json: AsJson = False,
    system: System = None,
) -> None:
    """Show a dead letter: what failed, why, and the event as it came."""
    from portico.cli.letters import show_letter

    asyncio.run(show_letter(_where(system, ()), letter, as_json=as_json))


@app.command()
def replay(
    *,
    letters: Named = None,
    consumer: Consumer = None,
    kind: Type = None,
    cause: Cause = None,
    aggregate: Aggregate = None,
    since: Since = None,
    everything: All = False,
    service: Services = None,
    system: System = None,
) -> None:
    """Have dead letters tried again, from the first try on. Those about the same thing keep their order."""
    from portico.cli.letters import choice_of, replay_letters

    choice = choice_of(letters or (), consumer, kind, cause, aggregate, since, everything=everything)
    asyncio.run(replay_letters(_where(system, service), letters or (), choice))


@app.command()
def discard(
    *,
    letters: Named = None,
    consumer: Consumer = None,
    kind: Type = None,
    cause: Cause = None,
    aggregate: Aggregate = None,
    since: Since = None,
    everything: All = False,
    waiting: Waiting = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    service: Services = None,
    system: System = None,
) -> None:
    """Give dead letters up for good. A line in the log tells of each, and who did it; a redelivery brings none back."""
    from portico.cli.letters import choice_of, discard_letters

    choice = choice_of(letters or (), consumer, kind, cause, aggregate, since, everything=everything, waiting=waiting)
    asyncio.run(discard_letters(_where(system, service), letters or (), choice, yes=yes))


def _where(system: str | None, services: "list[str] | tuple[str, ...] | None") -> "Letters":
    from portico.cli.letters import Letters

    return Letters(system, tuple(services or ()))
