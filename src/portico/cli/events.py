"""`portico events`: the events that services have published."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from portico.cli.confirm import confirm
from portico.kit.foundation.errors import CommandError

if TYPE_CHECKING:
    from portico.cli.service_databases import ServiceDatabase
    from portico.kit.messaging.log import EventFilter, EventLog, Follower, LoggedEvent

app = typer.Typer(no_args_is_help=True, help="Print the events that services publish, and replay them.")

System = Annotated[str | None, typer.Option("--system", help="The system. Default: PORTICO_SYSTEM.")]
Services = Annotated[
    list[str] | None, typer.Option("--service", help="Only events that this service published. May be repeated.")
]
Types = Annotated[
    list[str] | None, typer.Option("--type", help="Only this type, such as order.created. May be repeated.")
]
Aggregate = Annotated[str | None, typer.Option(help="Only events of this aggregate, such as ord_….")]
Since = Annotated[str | None, typer.Option(help="Only events after this time: 15m, 24h, 2026-01-31T12:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Only events before this time.")]

_POLL = 0.5  # seconds


@app.callback()
def events() -> None:
    """Print the events that services publish, and replay them."""


@app.command()
def tail(
    *,
    kind: Types = None,
    aggregate: Aggregate = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The maximum number to print.", min=0, max=1000)] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue with events as they are published.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each as a CloudEvent, one per line.")] = False,
    service: Services = None,
    system: System = None,
) -> None:
    """Print the most recent events, oldest first."""
    selection = read_selection((), kind or (), aggregate, since, until)
    asyncio.run(tail_events(system, service or (), selection, limit=limit, follow=follow, as_json=as_json))


@app.command()
def replay(
    *,
    event_ids: Annotated[list[str] | None, typer.Argument(help="Ids of events.", show_default=False)] = None,
    kind: Types = None,
    aggregate: Aggregate = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[bool, typer.Option("--all", help="All stored events.")] = False,
    to: Annotated[str | None, typer.Option(help="Only to this service. Needs no broker.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also deliver events that the service has handled. Needs --to.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    service: Services = None,
    system: System = None,
) -> None:
    """Deliver published events again, in order: to every service, or to one.

    A consumer that has handled an event ignores it, unless --again is given.
    """
    if again and to is None:
        raise CommandError("--again needs one service.", "Name it: --again --to notifications.")
    selection = read_selection(event_ids or (), kind or (), aggregate, since, until, everything=everything)
    if to is None:
        asyncio.run(replay_events(system, service or (), selection))
    else:
        asyncio.run(replay_events_to(to, system, service or (), selection, again=again, yes=yes))


def read_selection(
    event_ids: Sequence[str],
    types: Sequence[str],
    aggregate: str | None,
    since: str | None,
    until: str | None,
    *,
    everything: bool | None = None,
) -> "EventFilter":
    """Return the selection that the options describe. Raises CommandError if `everything` is False and they are empty."""
    from portico.cli.times import read_time
    from portico.kit.messaging.log import EventFilter

    has_filter = bool(event_ids or types) or any(each is not None for each in (aggregate, since, until))
    if everything is not None and everything is has_filter:
        raise CommandError(
            "Which events?",
            "Name their ids, or filter (--type, --aggregate, --since, --until), or use --all.",
        )
    times = read_time(since, "--since"), read_time(until, "--until")
    return EventFilter(tuple(event_ids), tuple(types), aggregate, *times)


async def tail_events(
    system: str | None, services: Sequence[str], selection: "EventFilter", *, limit: int, follow: bool, as_json: bool
) -> None:
    """Print the last `limit` events; with `follow`, print new ones until cancelled."""
    from portico.cli.service_databases import open_databases

    async with open_databases(system, services) as databases:
        logs = {each.name: _event_log(each) for each in databases}
        followers = {name: await log.follow(selection) for name, log in logs.items()} if follow else {}
        found = [(event, name) for name, log in logs.items() for event in await log.newest(selection, limit=limit)]
        found.sort(key=lambda each: (each[0].occurred_at, each[1], each[0].number))
        _print_events(found[len(found) - limit :] if limit < len(found) else found, as_json=as_json)
        while followers:
            await asyncio.sleep(_POLL)
            await _print_new_events(followers, as_json=as_json)


async def _print_new_events(followers: "dict[str, Follower]", *, as_json: bool) -> None:
    for name, follower in followers.items():
        _print_events([(event, name) for event in await follower.new_events()], as_json=as_json)


def _print_events(events: "Iterable[tuple[LoggedEvent, str]]", *, as_json: bool) -> None:
    if as_json:
        for event, _ in events:
            print(event.body, flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    from portico.cli.times import format_time

    console = Console(highlight=False)
    for event, service in events:
        console.print(
            Text(format_time(event.occurred_at), "dim"),
            Text(service, "cyan"),
            Text(event.type, "bold"),
            Text(event.aggregate),
            Text(event.event_id, "dim"),
            Text(_data(event), "dim"),
            soft_wrap=True,
        )


def _data(event: "LoggedEvent") -> str:
    import orjson

    from portico.cli.times import printable
    from portico.kit.messaging.envelope import NotAnEvent

    try:
        return printable(orjson.dumps(event.envelope.data).decode())
    except NotAnEvent as error:
        return str(error)


async def replay_events(system: str | None, services: Sequence[str], selection: "EventFilter") -> None:
    """Schedule events for publication, and print how many."""
    from portico.cli.service_databases import open_databases

    async with open_databases(system, services) as databases:
        total = 0
        for each in databases:
            number = await _event_log(each).publish_again(selection)
            total += number
            if number:
                print(f"{each.name}: {_count(number)} will be published again as soon as {each.name} runs.")
    _print_if_none(total)


async def replay_events_to(
    to: str, system: str | None, services: Sequence[str], selection: "EventFilter", *, again: bool, yes: bool
) -> None:
    """Deliver events to the consumers of one service, and print how many. Raises CommandError if it handles none."""
    from contextlib import AsyncExitStack

    from portico.cli.service_databases import open_databases
    from portico.kit.messaging.replay import Replay

    async with AsyncExitStack() as stack:
        (receiver,) = await stack.enter_async_context(open_databases(system, [to]))
        replay = Replay(receiver.placement.service.consumers, receiver.database, receiver.clock, again=again)
        wanted = _handled_only(receiver.name, replay.types, selection)
        logs = [_event_log(each) for each in await stack.enter_async_context(open_databases(system, services))]
        if again and not yes:
            number = sum([await log.count(wanted) for log in logs])
            confirm(f"Deliver {_count(number)} to {receiver.name} again, including those that it has handled?")
        total = await replay.of(logs, wanted)
    if total:
        print(f"{receiver.name}: {_count(total)} will be handled as soon as {receiver.name} runs.")
    _print_if_none(total)


def _handled_only(service: str, handled: frozenset[str], selection: "EventFilter") -> "EventFilter":
    """Return the part of `selection` that the service handles. Raises CommandError if it handles none of it."""
    types = handled.intersection(selection.types) if selection.types else handled
    if not types:
        known = f"It handles {', '.join(sorted(handled))}." if handled else "It has no consumers."
        raise CommandError(f"{service} does not handle these events.", known)
    return replace(selection, types=tuple(sorted(types)))


def _print_if_none(total: int) -> None:
    if not total:
        print("No event to deliver: none matches, or all were handled.")


def _count(number: int) -> str:
    return f"{number} event{'' if number == 1 else 's'}"


def _event_log(service: "ServiceDatabase") -> "EventLog":
    from portico.kit.messaging.log import EventLog

    return EventLog(service.database, service.clock)
