"""`portico events`: what services have published."""

import asyncio
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Watch the events that services publish, and publish them again.")

System = Annotated[str | None, typer.Option("--system", help="The system; the one in force if none is named.")]
Services = Annotated[
    list[str] | None,
    typer.Option("--service", help="Only what this service published. May be repeated."),
]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only this type, as order.created. May be repeated.")]
Aggregate = Annotated[str | None, typer.Option(help="Only events about this, such as ord_….")]
Since = Annotated[str | None, typer.Option(help="Only what happened since then: 15m, 24h, 2026-01-31T12:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Only what happened before then.")]


@app.callback()
def events() -> None:
    """Watch the events that services publish, and publish them again."""


@app.command()
def tail(
    *,
    kind: Types = None,
    aggregate: Aggregate = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many at most.", min=0, max=1000)] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is published from now on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each as a CloudEvent, one a line.")] = False,
    service: Services = None,
    system: System = None,
) -> None:
    """Print the events that were published last, the oldest of them first."""
    from portico.cli.logged_events import selection_of, tail_events

    selection = selection_of((), kind or (), aggregate, since, until)
    asyncio.run(tail_events(system, service or (), selection, limit=limit, follow=follow, as_json=as_json))


@app.command()
def replay(
    *,
    event_ids: Annotated[list[str] | None, typer.Argument(help="Events by their ids.", show_default=False)] = None,
    kind: Types = None,
    aggregate: Aggregate = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are kept.")] = False,
    to: Annotated[str | None, typer.Option(help="Only to this service; it needs no broker.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Have the service handle again what it has handled. Needs --to.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    service: Services = None,
    system: System = None,
) -> None:
    """Deliver published events again, in their order: to every service, or only to one.

    Who has handled an event does nothing, unless --again says so.
    """
    from portico.cli.errors import CommandError
    from portico.cli.logged_events import replay_events, replay_events_to, selection_of

    if again and to is None:
        raise CommandError("--again is for one service.", "Name it: --again --to notifications.")
    selection = selection_of(event_ids or (), kind or (), aggregate, since, until, everything=everything)
    if to is None:
        asyncio.run(replay_events(system, service or (), selection))
    else:
        asyncio.run(replay_events_to(to, system, service or (), selection, again=again, yes=yes))
