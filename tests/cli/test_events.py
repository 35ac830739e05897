import asyncio
import json

import pytest
from tests.cli.leaving import Leaving, shelving
from tests.kit.messaging.leaving import ReaderCame, left, parked, tell, waiting

from portico.kit.messaging.carrying import retry_due
from portico.kit.testing.commands import eventually

pytestmark = pytest.mark.slow


class TestTail:
    async def test_the_last_ones_for_people(self, library: Leaving) -> None:
        await tell(library.readers, left("one"), left("two"), left("three"))

        printed = (await library.told("events", "tail", "-n", "2")).splitlines()

        assert len(printed) == 2
        assert "readers reader.left r1" in printed[0]
        assert printed[1].endswith('{"reader_id":"r1","title":"three"}')

    async def test_those_asked_for_as_cloud_events(self, library: Leaving) -> None:
        came = ReaderCame(reader_id="r1")
        await tell(library.readers, left("one"), came)

        printed = await library.told("events", "tail", "--json", "--type", "reader.came", "--since", "1h")

        (event,) = map(json.loads, printed.splitlines())
        assert (event["specversion"], event["id"], event["source"]) == ("1.0", came.event_id, "/leaving/readers")

    async def test_what_comes(self, library: Leaving) -> None:
        await tell(library.readers, left("one"))

        with library.begin("events", "tail", "--follow", "--json") as tail:
            await asyncio.to_thread(eventually, lambda: '"title":"one"' in tail.out, "the first event")
            await tell(library.readers, left("two"))
            await asyncio.to_thread(eventually, lambda: '"title":"two"' in tail.out, "the second event")
            lines = [json.loads(line)["data"]["title"] for line in tail.out.splitlines()]

        assert lines == ["one", "two"]


class TestReplay:
    async def test_to_every_service(self, library: Leaving) -> None:
        event, other = left("one"), left("two", "r2")
        await tell(library.readers, event, other)

        printed = await library.told("events", "replay", "--aggregate", "r1")

        assert printed == "readers: 1 event to be published again as soon as readers runs.\n"
        assert await waiting(library.readers) == [event.event_id]

    async def test_to_one_service(self, library: Leaving) -> None:
        one, two = left("one"), left("two")
        await tell(library.readers, one, two)
        await library.shelves.receives(one)

        printed = await library.told("events", "replay", "--all", "--to", "shelves")
        library.shelves.clock.advance(600)
        await retry_due(library.shelves.inbox)

        assert printed == "shelves: 1 event to be handled as soon as shelves runs.\n"
        assert shelving.seen == ["one", "two"]
        assert await waiting(library.readers) == []

    async def test_what_was_handled_is_handled_again_where_that_is_said(self, library: Leaving) -> None:
        event = left("one")
        await tell(library.readers, event)
        await library.shelves.receives(event)
        replay = ["events", "replay", event.event_id, "--to", "shelves"]

        assert "No event is to be delivered" in await library.told(*replay)
        asked = await library.run(*replay, "--again")
        assert asked.returncode == 2
        assert "Have shelves handle 1 event again" in asked.stderr
        await library.told(*replay, "--again", "--yes")
        library.shelves.clock.advance(600)
        await retry_due(library.shelves.inbox)

        assert shelving.seen == ["one", "one"]
        assert await parked(library.shelves) == []

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ([], "Which events?"),
            (["--all", "--type", "reader.left"], "Which events?"),
            (["--all", "--again"], "--again is for one service"),
            (["--all", "--to", "readers"], "It has no consumers."),
            (["--type", "reader.came", "--to", "shelves"], "It handles reader.left."),
            (["--all", "--to", "shelf"], "Did you mean shelves?"),
        ],
    )
    async def test_what_can_not_be(self, library: Leaving, options: list[str], told: str) -> None:
        refused = await library.run("events", "replay", *options)

        assert refused.returncode == 2
        assert told in refused.stderr
