import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.cli.leaving import Leaving, shelving
from tests.kit.messaging.leaving import ReaderLeft, die, left

from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.carrying import retry_due
from portico.kit.testing.commands import run_portico

pytestmark = pytest.mark.slow


async def dead(library: Leaving, *titles: str) -> list[ReaderLeft]:
    """An event for each title that could not be handled, about a reader of its own."""
    shelving.failing = set(titles)
    events = [left(title, f"r-{title}") for title in titles]
    await die(library.shelves, *events)
    shelving.failing, shelving.seen = set(), []
    return events


async def listed(library: Leaving, *options: str) -> list[Any]:
    found: list[Any] = json.loads(await library.told("dead-letters", "list", "--json", *options))
    return found


def names(letters: Sequence[Any]) -> list[str]:
    return [letter["letter"] for letter in letters]


class TestList:
    async def test_none(self, library: Leaving) -> None:
        assert await library.told("dead-letters", "list") == "There are no dead letters.\n"
        assert await listed(library) == []

    async def test_a_table_for_people(self, library: Leaving) -> None:
        await dead(library, "Dune")

        printed = await library.told("dead-letters", "list")

        assert all(
            word in printed
            for word in ("shelves/1", "reader.left", "r-Dune", "shelve_book_when_reader_left", "shelf_full")
        )

    async def test_json_for_programs_and_those_asked_for(self, library: Leaving) -> None:
        events = await dead(library, "Dune", "Emma")

        assert [letter["event_id"] for letter in await listed(library)] == [event.event_id for event in events]
        assert names(await listed(library, "--aggregate", "r-Emma", "--cause", "shelf_full")) == ["shelves/2"]
        assert names(await listed(library, "--since", "1h", "--type", "reader.left")) == ["shelves/1", "shelves/2"]
        assert await listed(library, "--service", "readers") == []
        assert await listed(library, "--consumer", "another") == []

    async def test_in_pages(self, library: Leaving) -> None:
        await dead(library, "Dune", "Emma", "Ulysses")

        assert "go on with --after shelves/2" in await library.told("dead-letters", "list", "--limit", "2")
        assert names(await listed(library, "--limit", "2", "--after", "shelves/2")) == ["shelves/3"]

    async def test_those_that_are_still_tried(self, library: Leaving) -> None:
        shelving.failing = {"Dune"}
        await library.shelves.receives(left("Dune"))

        assert await listed(library) == []
        assert [letter["state"] for letter in await listed(library, "--waiting")] == ["waiting"]

    async def test_a_time_that_is_none(self, library: Leaving) -> None:
        for time, told in (("yesterday", "is no time"), ("2026-01-31T12:00:00", "names no time zone")):
            refused = await library.run("dead-letters", "list", "--since", time)
            assert refused.returncode == 2
            assert told in refused.stderr

    def test_a_system_that_never_ran(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "dead-letters", "list")

        assert refused.returncode == 2
        assert "portico up" in refused.stderr
        assert not (tmp_path / ".portico" / "databases").exists()


class TestShow:
    async def test_all_of_it(self, library: Leaving) -> None:
        (event,) = await dead(library, "Dune")

        printed = await library.told("dead-letters", "show", "shelves/1")
        plain = json.loads(await library.told("dead-letters", "show", "shelves/1", "--json"))

        assert "The shelf is full." in printed
        assert '"title": "Dune"' in printed
        assert (plain["attempts"], plain["cause"]) == (2, "shelf_full")
        assert plain["payload"]["data"] == event.model_dump()

    async def test_what_steers_terminals_is_spelled_out(self, library: Leaving) -> None:
        await library.shelves.inbox.deliver(Message("evt_1", "reader.left", "r1", b"\x1b[2J[red]hello"))

        assert "\\x1b[2J[red]hello" in await library.told("dead-letters", "show", "shelves/1")

    @pytest.mark.parametrize("name", ["shelves/7", "shelves", "shelves/" + "9" * 30])
    async def test_one_that_is_not_there(self, library: Leaving, name: str) -> None:
        refused = await library.run("dead-letters", "show", name)

        assert refused.returncode == 2
        assert "dead letter" in refused.stderr


class TestReplay:
    async def test_named_ones_are_tried_again(self, library: Leaving) -> None:
        await dead(library, "Dune", "Emma")

        assert "shelves: 1 is tried again" in await library.told("dead-letters", "replay", "shelves/2")

        await retry_due(library.shelves.inbox)
        assert shelving.seen == ["Emma"]
        assert names(await listed(library)) == ["shelves/1"]

    async def test_those_that_are_like_that(self, library: Leaving) -> None:
        await dead(library, "Dune", "Emma")

        await library.told("dead-letters", "replay", "--cause", "shelf_full")

        await retry_due(library.shelves.inbox)
        assert shelving.seen == ["Dune", "Emma"]

    async def test_one_of_the_named_that_is_none_has_none_replayed(self, library: Leaving) -> None:
        await dead(library, "Dune")

        refused = await library.run("dead-letters", "replay", "shelves/1", "shelves/2")

        assert refused.returncode == 2
        assert "shelves/2 is no dead letter" in refused.stderr
        assert names(await listed(library)) == ["shelves/1"]

    @pytest.mark.parametrize("options", [[], ["--all", "--cause", "x"], ["shelves/1", "--all"]])
    async def test_which_has_to_be_said_in_one_way(self, library: Leaving, options: list[str]) -> None:
        refused = await library.run("dead-letters", "replay", *options)

        assert refused.returncode == 2
        assert "Which dead letters?" in refused.stderr


class TestDiscard:
    async def test_they_are_gone_and_who_did_it_is_told(self, library: Leaving) -> None:
        (event,) = await dead(library, "Dune")

        done = await library.run("dead-letters", "discard", "--all", "--yes")

        assert (done.returncode, done.stdout) == (0, "shelves: 1 discarded.\n")
        line = json.loads(done.stderr)
        assert (line["event"], line["event_id"]) == ("dead_letter_discarded", event.event_id)
        assert line["by"]
        await library.shelves.receives(event)
        assert (await listed(library), shelving.seen) == ([], [])

    async def test_it_asks_first(self, library: Leaving) -> None:
        await dead(library, "Dune")

        refused = await library.run("dead-letters", "discard", "shelves/1")

        assert refused.returncode == 2
        assert "Give up 1 dead letter for good?" in refused.stderr
        assert "--yes" in refused.stderr
        assert names(await listed(library)) == ["shelves/1"]
