"""What `portico events` does."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import orjson

from portico.cli.confirm import ask
from portico.cli.errors import CommandError
from portico.cli.service_databases import ServiceDatabase, open_databases
from portico.cli.times import printable, read_moment, shown
from portico.kit.messaging.envelope import NotAnEvent
from portico.kit.messaging.log import EventLog, Follower, LoggedEvent, Selection
from portico.kit.messaging.replay import Replay

_POLL = 0.5  # seconds


def selection_of(
    event_ids: Sequence[str],
    types: Sequence[str],
    aggregate: str | None,
    since: str | None,
    until: str | None,
    *,
    everything: bool | None = None,
) -> Selection:
    """What the options say. Raises CommandError where `everything` is False and they say nothing."""
    narrowed = bool(event_ids or types) or any(each is not None for each in (aggregate, since, until))
    if everything is not None and everything is narrowed:
        raise CommandError(
            "Which events?",
            "Name their ids, or narrow them down (--type, --aggregate, --since, --until), or say --all.",
        )
    moments = read_moment(since, "--since"), read_moment(until, "--until")
    return Selection(tuple(event_ids), tuple(types), aggregate, *moments)


async def tail_events(
    system: str | None, services: Sequence[str], selection: Selection, *, limit: int, follow: bool, as_json: bool
) -> None:
    """Print the last `limit`, and with `follow` what comes until it is cancelled."""
    async with open_databases(system, services) as databases:
        logs = {each.name: _log(each) for each in databases}
        change_notifier = {name: await log.follow(selection) for name, log in logs.items()} if follow else {}
        found = [(event, name) for name, log in logs.items() for event in await log.newest(selection, limit=limit)]
        found.sort(key=lambda each: (each[0].occurred_at, each[1], each[0].number))
        _print(found[len(found) - limit :] if limit < len(found) else found, as_json=as_json)
        while change_notifier:
            await asyncio.sleep(_POLL)
            await _print_news(change_notifier, as_json=as_json)


async def _print_news(change_notifier: dict[str, Follower], *, as_json: bool) -> None:
    for name, follower in change_notifier.items():
        _print([(event, name) for event in await follower.news()], as_json=as_json)


def _print(events: Iterable[tuple[LoggedEvent, str]], *, as_json: bool) -> None:
    if as_json:
        for event, _ in events:
            print(event.body, flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for event, service in events:
        console.print(
            Text(shown(event.occurred_at), "dim"),
            Text(service, "cyan"),
            Text(event.type, "bold"),
            Text(event.aggregate),
            Text(event.event_id, "dim"),
            Text(_data(event), "dim"),
            soft_wrap=True,
        )


def _data(event: LoggedEvent) -> str:
    try:
        return printable(orjson.dumps(event.envelope.data).decode())
    except NotAnEvent as error:
        return str(error)


async def replay_events(system: str | None, services: Sequence[str], selection: Selection) -> None:
    """Have them published again, and say how many."""
    async with open_databases(system, services) as databases:
        total = 0
        for each in databases:
            number = await _log(each).publish_again(selection)
            total += number
            if number:
                print(f"{each.name}: {_counted(number)} to be published again as soon as {each.name} runs.")
    _tell_of_none(total)


async def replay_events_to(
    to: str, system: str | None, services: Sequence[str], selection: Selection, *, again: bool, yes: bool
) -> None:
    """Hand them to the consumers of one service, and say how many. Raises CommandError where it has none."""
    async with AsyncExitStack() as stack:
        (receiver,) = await stack.enter_async_context(open_databases(system, [to]))
        replay = Replay(receiver.placement.service.consumers, receiver.database, receiver.clock, again=again)
        wanted = _wanted(receiver.name, replay.types, selection)
        logs = [_log(each) for each in await stack.enter_async_context(open_databases(system, services))]
        if again and not yes:
            number = sum([await log.count(wanted) for log in logs])
            ask(f"Have {receiver.name} handle {_counted(number)} again, whatever it has done for them before?")
        total = await replay.of(logs, wanted)
    if total:
        print(f"{receiver.name}: {_counted(total)} to be handled as soon as {receiver.name} runs.")
    _tell_of_none(total)


def _wanted(service: str, handled: frozenset[str], selection: Selection) -> Selection:
    """`selection`, of the types that the service handles. Raises CommandError where there are none."""
    types = handled.intersection(selection.types) if selection.types else handled
    if not types:
        known = f"It handles {', '.join(sorted(handled))}." if handled else "It has no consumers."
        raise CommandError(f"{service} handles no such events.", known)
    return replace(selection, types=tuple(sorted(types)))


def _tell_of_none(total: int) -> None:
    if not total:
        print("No event is to be delivered: none is like that, or all of them were handled.")


def _counted(number: int) -> str:
    return f"{number} event{'' if number == 1 else 's'}"


def _log(service: ServiceDatabase) -> EventLog:
    return EventLog(service.database, service.clock)
