"""What `portico dead-letters` does."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from portico.cli.confirm import ask
from portico.cli.errors import CommandError
from portico.cli.service_databases import audited, open_databases
from portico.cli.times import age, printable, read_moment
from portico.kit.messaging.dead_letters import Choice, DeadLetter, DeadLetters, NoSuchDeadLetter
from portico.kit.messaging.retry_queue import State

if TYPE_CHECKING:
    from rich.table import Table

_NAMING = "Name dead letters as `portico dead-letters list` does: orders/17."


@dataclass(frozen=True)
class Letters:
    """Where to look: the system, and those of its services that are meant; all of them where none is named."""

    system: str | None
    services: tuple[str, ...]

    @asynccontextmanager
    async def opened(self, named: Iterable[str] = ()) -> AsyncIterator[dict[str, DeadLetters]]:
        """The dead letters of each service, by name; only of those that `named` ones are of."""
        services = [service for service, _ in map(_parsed, named)] or self.services
        async with open_databases(self.system, services) as databases:
            yield {each.name: DeadLetters(each.name, each.database, each.clock) for each in databases}


def choice_of(
    letters: Sequence[str],
    consumer: str | None,
    kind: str | None,
    cause: str | None,
    aggregate: str | None,
    since: str | None,
    *,
    waiting: bool = False,
    everything: bool | None = None,
) -> Choice:
    """What the options say. Raises CommandError where `everything` is False and they say nothing, or too much."""
    narrowed = any(each is not None for each in (consumer, kind, cause, aggregate, since))
    if everything is not None and [bool(letters), narrowed, everything].count(True) != 1:
        raise CommandError(
            "Which dead letters?",
            "Name them (orders/17), or narrow them down (--consumer, --type, --cause, --aggregate, --since), or say --all.",
        )
    moment = read_moment(since, "--since")
    state: State = "waiting" if waiting else "dead"
    return Choice(consumer=consumer, type=kind, cause=cause, aggregate=aggregate, since=moment, state=state)


async def list_letters(where: Letters, choice: Choice, *, limit: int, after: str | None, as_json: bool) -> None:
    """Print at most `limit` of them, and whether there are more."""
    last, number = _parsed(after) if after else ("", 0)
    found: list[tuple[str, DeadLetter]] = []
    async with where.opened() as letters:
        names = list(letters)
        if last and last not in names:
            raise CommandError(f"--after {after} is of no service that is listed.", _NAMING)
        for name in names[names.index(last) if last else 0 :]:
            page = await letters[name].page(choice, limit=limit + 1 - len(found), after=number if name == last else 0)
            found += [(name, letter) for letter in page]
    kept, more = found[:limit], len(found) > limit
    if as_json:
        _print_json([_plain(name, letter) for name, letter in kept])
    else:
        _show_all(kept, choice, more=more)


def _show_all(found: Sequence[tuple[str, DeadLetter]], choice: Choice, *, more: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if not found:
        console.print("No event is like that." if choice != Choice() else "There are no dead letters.")
        return
    console.print(_table(found))
    if more:
        name, letter = found[-1]
        console.print(f"There are more: go on with --after {name}/{letter.number}", style="dim")


def _table(found: Sequence[tuple[str, DeadLetter]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Letter", "Event", "Cause"):
        table.add_column(column, no_wrap=True)
    for column in ("Tries", "Age"):
        table.add_column(column, no_wrap=True, justify="right")
    for column in ("About", "Consumer"):
        table.add_column(column, overflow="fold")
    for name, letter in found:
        numbers = (str(letter.attempts), age(letter.failed_at))
        cells = (
            f"{name}/{letter.number}",
            letter.type,
            letter.cause,
            *numbers,
            letter.aggregate,
            letter.consumer or letter.kind,
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


async def show_letter(where: Letters, named: str, *, as_json: bool) -> None:
    """Print all of one. Raises CommandError."""
    name, number = _parsed(named)
    async with where.opened([named]) as letters:
        (service,) = letters.items()
        try:
            letter = await service[1].get(number)
        except NoSuchDeadLetter as error:
            raise _missing([f"{name}/{number}"]) from error
    whole = _plain(service[0], letter) | {"payload": _payload(letter)}
    if as_json:
        _print_json(whole)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    payload = whole.pop("payload")
    for key, value in whole.items():
        console.print(Text(f"{key:<12}", "bold"), Text(printable(str(value))), soft_wrap=True)
    text = payload if isinstance(payload, str) else orjson.dumps(payload, option=orjson.OPT_INDENT_2).decode()
    console.print(Text(f"\n{printable(text)}"), soft_wrap=True)


def _payload(letter: DeadLetter) -> Any:
    try:
        return orjson.loads(letter.body)
    except orjson.JSONDecodeError:
        return letter.body


async def replay_letters(where: Letters, named: Sequence[str], choice: Choice) -> None:
    """Have them tried again, and say how many. Raises CommandError where a named one is none."""
    async with where.opened(named) as letters:
        await _require(letters, named, choice)
        with audited() as who:
            for name, service in letters.items():
                number = await service.replay(_of(name, named, choice), by=who)
                if number:
                    print(f"{name}: {number} {'is' if number == 1 else 'are'} tried again as soon as {name} runs.")


async def discard_letters(where: Letters, named: Sequence[str], choice: Choice, *, yes: bool) -> None:
    """Give them up, having asked. Raises CommandError where a named one is none, or there is nobody to ask."""
    async with where.opened(named) as letters:
        await _require(letters, named, choice)
        number = sum([await service.count(_of(name, named, choice)) for name, service in letters.items()])
        if not number:
            print("No dead letter is like that." if choice.state == "dead" else "No event that waits is like that.")
            return
        if not yes:
            what = "dead letter" if choice.state == "dead" else "waiting event"
            ask(f"Give up {number} {what}{'' if number == 1 else 's'} for good?")
        with audited() as who:
            for name, service in letters.items():
                if gone := await service.discard(_of(name, named, choice), by=who):
                    print(f"{name}: {gone} discarded.")


def _of(service: str, named: Sequence[str], choice: Choice) -> Choice:
    return replace(choice, numbers=tuple(number for name, number in map(_parsed, named) if name == service))


async def _require(letters: dict[str, DeadLetters], named: Sequence[str], choice: Choice) -> None:
    missing = []
    for each in named:
        name, number = _parsed(each)
        if not (name in letters and await letters[name].count(replace(choice, numbers=(number,)))):
            missing.append(each)
    if missing:
        raise _missing(missing)


def _missing(named: Sequence[str]) -> CommandError:
    what = f"{named[0]} is no dead letter" if len(named) == 1 else f"{', '.join(named)} are no dead letters"
    return CommandError(f"{what}: tried again, discarded or never there.", "See `portico dead-letters list`.")


def _parsed(named: str) -> tuple[str, int]:
    service, _, number = named.rpartition("/")
    if not service or not number.isdecimal() or len(number) > len(str(2**63)) - 1:
        raise CommandError(f"{named} names no dead letter.", _NAMING)
    return service, int(number)


def _plain(service: str, letter: DeadLetter) -> dict[str, Any]:
    """What is told of a letter but its payload."""
    told = {
        "letter": f"{service}/{letter.number}",
        "consumer": letter.consumer,
        "event_id": letter.event_id,
        "type": letter.type,
        "aggregate": letter.aggregate,
        "state": letter.state,
        "attempts": letter.attempts,
        "cause": letter.cause,
        "error": letter.error,
        "failed_at": letter.failed_at.isoformat(),
    }
    return told | ({"next_at": letter.next_at.isoformat()} if letter.state == "waiting" else {})


def _print_json(value: Any) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
