"""`portico dead-letters`: events that a consumer could not handle, or that the broker rejected."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from portico.cli.confirm import confirm
from portico.kit.foundation.errors import CommandError

if TYPE_CHECKING:
    from rich.table import Table

    from portico.kit.messaging.dead_letters import DeadLetter, DeadLetterFilter, DeadLetters

app = typer.Typer(no_args_is_help=True, help="List, replay and discard events that a consumer could not handle.")

System = Annotated[str | None, typer.Option("--system", help="The system. Default: PORTICO_SYSTEM.")]
Services = Annotated[
    list[str] | None, typer.Option("--service", help="Only dead letters of this service. May be repeated.")
]
Consumer = Annotated[str | None, typer.Option(help="Only dead letters of this consumer.")]
Type = Annotated[str | None, typer.Option("--type", help="Only events of this type, such as order.created.")]
Cause = Annotated[str | None, typer.Option(help="Only dead letters with this cause, as listed.")]
Aggregate = Annotated[str | None, typer.Option(help="Only events of this aggregate, such as ord_….")]
Since = Annotated[str | None, typer.Option(help="Only failures after this time: 15m, 24h, 2026-01-31T12:00:00Z.")]
Waiting = Annotated[
    bool, typer.Option("--waiting", help="Events that are waiting for a retry, instead of dead letters.")
]
Named = Annotated[
    list[str] | None, typer.Argument(help="Dead letters by their listed names: orders/17.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_NAMES = "Name dead letters as `portico dead-letters list` does: orders/17."


@app.callback()
def dead_letters() -> None:
    """List, replay and discard events that a consumer could not handle, or that the broker rejected."""


@app.command("list")
def list_(
    *,
    consumer: Consumer = None,
    kind: Type = None,
    cause: Cause = None,
    aggregate: Aggregate = None,
    since: Since = None,
    waiting: Waiting = False,
    limit: Annotated[int, typer.Option(help="The maximum number to list.", min=1, max=1000)] = 50,
    after: Annotated[str | None, typer.Option(help="Continue after this dead letter, such as orders/17.")] = None,
    as_json: AsJson = False,
    service: Services = None,
    system: System = None,
) -> None:
    """List dead letters by service, oldest first."""
    choice = read_choice((), consumer, kind, cause, aggregate, since, waiting=waiting)
    asyncio.run(list_letters(Scope.of(system, service), choice, limit=limit, after=after, as_json=as_json))


@app.command()
def show(
    letter: Annotated[str, typer.Argument(help="The dead letter by its listed name: orders/17.")],
    as_json: AsJson = False,
    system: System = None,
) -> None:
    """Show a dead letter: which consumer failed, the error, and the event as it was received."""
    asyncio.run(show_letter(Scope.of(system, ()), letter, as_json=as_json))


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
    """Retry dead letters, with all attempts again. Events of one aggregate keep their order."""
    choice = read_choice(letters or (), consumer, kind, cause, aggregate, since, everything=everything)
    asyncio.run(replay_letters(Scope.of(system, service), letters or (), choice))


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
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    service: Services = None,
    system: System = None,
) -> None:
    """Discard dead letters permanently. Each is logged with the user's name. A redelivery does not bring one back."""
    choice = read_choice(letters or (), consumer, kind, cause, aggregate, since, everything=everything, waiting=waiting)
    asyncio.run(discard_letters(Scope.of(system, service), letters or (), choice, yes=yes))


@dataclass(frozen=True)
class Scope:
    """The services whose dead letters a command works on: those named, or all services of the system."""

    system: str | None
    services: tuple[str, ...]

    @classmethod
    def of(cls, system: str | None, services: Iterable[str] | None) -> "Scope":
        return cls(system, tuple(services or ()))

    @asynccontextmanager
    async def open(self, named: Iterable[str] = ()) -> "AsyncIterator[dict[str, DeadLetters]]":
        """Open the dead letters of each service; if dead letters are `named`, only of their services."""
        from portico.cli.service_databases import open_databases
        from portico.kit.messaging.dead_letters import DeadLetters

        services = [service for service, _ in map(_parse_name, named)] or self.services
        async with open_databases(self.system, services) as databases:
            yield {each.name: DeadLetters(each.name, each.database, each.clock) for each in databases}


def read_choice(
    letters: Sequence[str],
    consumer: str | None,
    kind: str | None,
    cause: str | None,
    aggregate: str | None,
    since: str | None,
    *,
    waiting: bool = False,
    everything: bool | None = None,
) -> "DeadLetterFilter":
    """Return the choice that the options describe. Raises CommandError if `everything` is False and they are ambiguous."""
    from portico.cli.times import read_time
    from portico.kit.messaging.dead_letters import DeadLetterFilter

    has_filter = any(each is not None for each in (consumer, kind, cause, aggregate, since))
    if everything is not None and [bool(letters), has_filter, everything].count(True) != 1:
        raise CommandError(
            "Which dead letters?",
            "Name them (orders/17), or filter (--consumer, --type, --cause, --aggregate, --since), or use --all.",
        )
    return DeadLetterFilter(
        consumer=consumer,
        type=kind,
        cause=cause,
        aggregate=aggregate,
        since=read_time(since, "--since"),
        state="waiting" if waiting else "dead",
    )


async def list_letters(
    scope: Scope, choice: "DeadLetterFilter", *, limit: int, after: str | None, as_json: bool
) -> None:
    """Print at most `limit` dead letters, and whether there are more."""
    last, number = _parse_name(after) if after else ("", 0)
    found: list[tuple[str, DeadLetter]] = []
    async with scope.open() as letters:
        names = list(letters)
        if last and last not in names:
            raise CommandError(f"--after {after} is not a dead letter of a listed service.", _NAMES)
        for name in names[names.index(last) if last else 0 :]:
            page = await letters[name].page(choice, limit=limit + 1 - len(found), after=number if name == last else 0)
            found += [(name, letter) for letter in page]
    if as_json:
        _print_json([_to_json(name, letter) for name, letter in found[:limit]])
    else:
        _print_page(found[:limit], choice, has_more=len(found) > limit)


def _print_page(page: "Sequence[tuple[str, DeadLetter]]", choice: "DeadLetterFilter", *, has_more: bool) -> None:
    from rich.console import Console

    from portico.kit.messaging.dead_letters import DeadLetterFilter

    console = Console(highlight=False)
    if not page:
        console.print("No event matches." if choice != DeadLetterFilter() else "There are no dead letters.")
        return
    console.print(_table(page))
    if has_more:
        name, letter = page[-1]
        console.print(f"There are more. Continue with --after {name}/{letter.number}", style="dim")


def _table(page: "Sequence[tuple[str, DeadLetter]]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from portico.cli.times import format_age, printable

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Letter", "Event", "Cause"):
        table.add_column(column, no_wrap=True)
    for column in ("Tries", "Age"):
        table.add_column(column, no_wrap=True, justify="right")
    for column in ("Aggregate", "Consumer"):
        table.add_column(column, overflow="fold")
    for name, letter in page:
        texts = (f"{name}/{letter.number}", letter.type, letter.cause)
        numbers = (str(letter.attempts), format_age(letter.failed_at))
        cells = (*texts, *numbers, letter.aggregate, letter.consumer or letter.kind)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


async def show_letter(scope: Scope, named: str, *, as_json: bool) -> None:
    """Print one dead letter with its payload. Raises CommandError."""
    from rich.console import Console
    from rich.text import Text

    from portico.cli.times import printable
    from portico.kit.messaging.dead_letters import DeadLetterNotFound

    service, number = _parse_name(named)
    async with scope.open([named]) as letters:
        [(service, dead)] = letters.items()
        try:
            letter = await dead.get(number)
        except DeadLetterNotFound as error:
            raise _not_found([f"{service}/{number}"]) from error
    members, payload = _to_json(service, letter), _payload(letter)
    if as_json:
        _print_json({**members, "payload": payload})
        return
    console = Console(highlight=False)
    for key, value in members.items():
        console.print(Text(f"{key:<12}", "bold"), Text(printable(str(value))), soft_wrap=True)
    text = payload if isinstance(payload, str) else orjson.dumps(payload, option=orjson.OPT_INDENT_2).decode()
    console.print(Text(f"\n{printable(text)}"), soft_wrap=True)


def _payload(letter: "DeadLetter") -> Any:
    try:
        return orjson.loads(letter.body)
    except orjson.JSONDecodeError:
        return letter.body


async def replay_letters(scope: Scope, named: Sequence[str], choice: "DeadLetterFilter") -> None:
    """Schedule dead letters for a retry, and print how many. Raises CommandError if a named one does not exist."""
    from portico.cli.service_databases import operator_name

    async with scope.open(named) as letters:
        await _require(letters, named, choice)
        operator = operator_name()
        for name, service in letters.items():
            number = await service.replay(_narrow(choice, name, named), by=operator)
            if number:
                print(f"{name}: {number} {'is' if number == 1 else 'are'} retried as soon as {name} runs.")


async def discard_letters(scope: Scope, named: Sequence[str], choice: "DeadLetterFilter", *, yes: bool) -> None:
    """Discard dead letters after a confirmation. Raises CommandError if a named one does not exist."""
    from portico.cli.service_databases import operator_name

    async with scope.open(named) as letters:
        await _require(letters, named, choice)
        number = sum([await service.count(_narrow(choice, name, named)) for name, service in letters.items()])
        if not number:
            print("No dead letter matches." if choice.state == "dead" else "No waiting event matches.")
            return
        if not yes:
            what = "dead letter" if choice.state == "dead" else "waiting event"
            confirm(f"Discard {number} {what}{'' if number == 1 else 's'} permanently?")
        operator = operator_name()
        for name, service in letters.items():
            if discarded := await service.discard(_narrow(choice, name, named), by=operator):
                print(f"{name}: {discarded} discarded.")


def _narrow(choice: "DeadLetterFilter", service: str, named: Sequence[str]) -> "DeadLetterFilter":
    """Return `choice` with the numbers of the named dead letters of one service."""
    return replace(choice, numbers=tuple(number for name, number in map(_parse_name, named) if name == service))


async def _require(letters: "dict[str, DeadLetters]", named: Sequence[str], choice: "DeadLetterFilter") -> None:
    missing = []
    for each in named:
        name, number = _parse_name(each)
        if not (name in letters and await letters[name].count(replace(choice, numbers=(number,)))):
            missing.append(each)
    if missing:
        raise _not_found(missing)


def _not_found(named: Sequence[str]) -> CommandError:
    letters = "Dead letter" if len(named) == 1 else "Dead letters"
    return CommandError(
        f"{letters} {', '.join(named)} not found: replayed, discarded or never existed.",
        "See `portico dead-letters list`.",
    )


def _parse_name(named: str) -> tuple[str, int]:
    service, _, number = named.rpartition("/")
    if not service or not number.isdecimal() or len(number) > len(str(2**63)) - 1:
        raise CommandError(f"{named} is not the name of a dead letter.", _NAMES)
    return service, int(number)


def _to_json(service: str, letter: "DeadLetter") -> dict[str, Any]:
    """Return a dead letter without its payload."""
    members = {
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
    return members | ({"next_at": letter.next_at.isoformat()} if letter.state == "waiting" else {})


def _print_json(value: Any) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
