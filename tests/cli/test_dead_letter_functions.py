import json
from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import insert
from tests.cli.leaving import Leaving, dead, shelving
from tests.kit.messaging.leaving import left

from portico.cli.dead_letters import Scope, discard_letters, list_letters, read_choice, replay_letters, show_letter
from portico.kit.data.kit_tables import failed_events
from portico.kit.foundation.errors import CommandError
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.dead_letters import DeadLetterFilter

ALL = DeadLetterFilter()
EVERYWHERE = Scope(None, ())


def chosen(**options: Any) -> DeadLetterFilter:
    names = ("consumer", "kind", "cause", "aggregate", "since")
    given = {name: options.pop(name, None) for name in names}
    return read_choice(options.pop("letters", ()), *given.values(), **options)


class Printed:
    """The output of a command."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def by(self, command: Awaitable[None]) -> str:
        self._capsys.readouterr()
        await command
        return self._capsys.readouterr().out

    async def list(self, choice: DeadLetterFilter = ALL, scope: Scope = EVERYWHERE, **options: Any) -> list[Any]:
        options = {"limit": 50, "after": None, **options}
        found: list[Any] = json.loads(await self.by(list_letters(scope, choice, as_json=True, **options)))
        return found


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    return Printed(capsys)


def names(letters: Sequence[Any]) -> list[str]:
    return [letter["letter"] for letter in letters]


def _letter(number: int, now: datetime) -> dict[str, Any]:
    texts = dict.fromkeys(("consumer", "type", "aggregate", "body", "cause", "error"), "x")
    texts["kind"] = "handler_failed"
    return {**texts, "event_id": f"evt_{number}", "state": "dead", "attempts": 1, "next_at": now, "failed_at": now}


class TestList:
    async def test_none(self, library: Leaving, printed: Printed) -> None:
        output = await printed.by(list_letters(EVERYWHERE, ALL, limit=50, after=None, as_json=False))

        assert output == "There are no dead letters.\n"
        assert await printed.list() == []

    async def test_prints_a_table(self, library: Leaving, printed: Printed) -> None:
        await dead(library, "Dune")

        output = await printed.by(list_letters(EVERYWHERE, ALL, limit=50, after=None, as_json=False))

        assert all(
            word in output
            for word in ("shelves/1", "reader.left", "r-Dune", "shelve-book-of-former-reader", "shelf_full")
        )

    async def test_filters_dead_letters(self, library: Leaving, printed: Printed) -> None:
        events = await dead(library, "Dune", "Emma")

        assert [letter["event_id"] for letter in await printed.list()] == [event.message_id for event in events]
        assert names(await printed.list(chosen(aggregate="r-Emma", cause="shelf_full"))) == ["shelves/2"]
        assert names(await printed.list(chosen(since="1h", kind="reader.left"))) == ["shelves/1", "shelves/2"]
        assert await printed.list(scope=Scope(None, ("readers",))) == []
        assert await printed.list(chosen(consumer="another")) == []

    async def test_prints_pages(self, library: Leaving, printed: Printed) -> None:
        await dead(library, "Dune", "Emma", "Ulysses")

        output = await printed.by(list_letters(EVERYWHERE, ALL, limit=2, after=None, as_json=False))

        assert "Continue with --after shelves/2" in output
        assert names(await printed.list(limit=2, after="shelves/2")) == ["shelves/3"]

    async def test_the_largest_page_says_that_there_are_more(self, library: Leaving, printed: Printed) -> None:
        async with library.shelves.context.transaction() as work:
            await work.execute(insert(failed_events), [_letter(number, work.now) for number in range(1001)])

        output = await printed.by(list_letters(EVERYWHERE, ALL, limit=1000, after=None, as_json=False))

        assert "Continue with --after shelves/1000" in output

    async def test_lists_events_that_wait_for_a_retry(self, library: Leaving, printed: Printed) -> None:
        shelving.failing = {"Dune"}
        await library.shelves.receives(left("Dune"))

        assert await printed.list() == []
        (letter,) = await printed.list(chosen(waiting=True))
        assert (letter["state"], "next_at" in letter) == ("waiting", True)

    @pytest.mark.parametrize(
        ("time", "message"), [("now", "is not a time"), ("2026-01-31T12:00:00", "has no time zone")]
    )
    def test_an_invalid_time_is_rejected(self, time: str, message: str) -> None:
        with pytest.raises(CommandError, match=message):
            chosen(since=time)


class TestShow:
    async def test_prints_the_whole_dead_letter(self, library: Leaving, printed: Printed) -> None:
        (event,) = await dead(library, "Dune")

        output = await printed.by(show_letter(EVERYWHERE, "shelves/1", as_json=False))
        plain = json.loads(await printed.by(show_letter(EVERYWHERE, "shelves/1", as_json=True)))

        assert "The shelf is full." in output
        assert '"title": "Dune"' in output
        assert (plain["attempts"], plain["cause"]) == (2, "shelf_full")
        assert plain["payload"]["data"] == event.model_dump()

    async def test_control_characters_are_escaped(self, library: Leaving, printed: Printed) -> None:
        await library.shelves.inbox.deliver(Message("evt_1", "reader.left", "r1", b"\x1b[2J[red]hello"))

        assert "\\x1b[2J[red]hello" in await printed.by(show_letter(EVERYWHERE, "shelves/1", as_json=False))

    @pytest.mark.parametrize("name", ["shelves/7", "readers/1", "shelves", "shelves/x", "/1", "shelves/" + "9" * 30])
    async def test_an_unknown_name_is_rejected(self, library: Leaving, name: str) -> None:
        with pytest.raises(CommandError, match=r"not found|not the name of a dead letter"):
            await show_letter(EVERYWHERE, name, as_json=False)


class TestSelection:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"everything": True, "cause": "x"},
            {"everything": True, "letters": ["shelves/1"]},
            {"letters": ["shelves/1"], "cause": "x"},
        ],
    )
    def test_needs_exactly_one_way_of_selection(self, options: dict[str, Any]) -> None:
        with pytest.raises(CommandError, match="Which dead letters"):
            chosen(**{"everything": False, **options})

    async def test_if_one_name_is_unknown_none_is_replayed(self, library: Leaving, printed: Printed) -> None:
        await dead(library, "Dune")

        with pytest.raises(CommandError, match="Dead letter shelves/2 not found"):
            await replay_letters(EVERYWHERE, ["shelves/1", "shelves/2"], ALL)

        assert names(await printed.list()) == ["shelves/1"]

    async def test_discarding_needs_a_confirmation(self, library: Leaving, printed: Printed) -> None:
        await dead(library, "Dune")

        with pytest.raises(CommandError, match="Discard 1 dead letter permanently"):
            await discard_letters(EVERYWHERE, ["shelves/1"], ALL, yes=False)

        assert names(await printed.list()) == ["shelves/1"]

    async def test_waiting_events_are_discarded_only_with_the_option(self, library: Leaving, printed: Printed) -> None:
        shelving.failing = {"Dune"}
        await library.shelves.receives(left("Dune"))

        with pytest.raises(CommandError, match="Dead letter shelves/1 not found"):
            await discard_letters(EVERYWHERE, ["shelves/1"], chosen(letters=["shelves/1"]), yes=True)
        waiting = chosen(letters=["shelves/1"], waiting=True)
        with pytest.raises(CommandError, match="Discard 1 waiting event permanently"):
            await discard_letters(EVERYWHERE, ["shelves/1"], waiting, yes=False)

        assert (
            await printed.by(discard_letters(EVERYWHERE, ["shelves/1"], waiting, yes=True)) == "shelves: 1 discarded.\n"
        )
        assert await printed.list(chosen(waiting=True)) == []

    async def test_reports_that_nothing_matches(self, library: Leaving, printed: Printed) -> None:
        assert "No dead letter" in await printed.by(discard_letters(EVERYWHERE, [], ALL, yes=True))
