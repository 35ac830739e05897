import json

import pytest
from tests.cli.leaving import Leaving, shelving
from tests.kit.messaging.leaving import ReaderCame, failed_rows, left, publish_events, waiting

from portico.cli.events import read_selection, replay_events, replay_events_to, tail_events
from portico.kit.foundation.errors import CommandError
from portico.kit.messaging.log import EventFilter
from portico.kit.messaging.runtime import retry_due
from portico.kit.runtime.system import NoSuchService

ALL = EventFilter()


async def retried(library: Leaving) -> None:
    library.shelves.clock.advance(600)
    await retry_due(library.shelves.inbox)


class TestTail:
    async def test_prints_the_most_recent_events(self, library: Leaving, capsys: pytest.CaptureFixture[str]) -> None:
        await publish_events(library.readers, left("one"), left("two"), left("three"))

        await tail_events(None, (), ALL, limit=2, follow=False, as_json=False)

        printed = capsys.readouterr().out.splitlines()
        assert len(printed) == 2
        assert "readers reader.left r1" in printed[0]
        assert printed[1].endswith('{"reader_id":"r1","title":"three"}')

    async def test_prints_selected_events_as_cloud_events(
        self, library: Leaving, capsys: pytest.CaptureFixture[str]
    ) -> None:
        came = ReaderCame(reader_id="r1")
        await publish_events(library.readers, left("one"), came)

        selection = read_selection((), ["reader.came"], None, "1h", None)
        await tail_events(None, ["readers"], selection, limit=20, follow=False, as_json=True)

        (event,) = map(json.loads, capsys.readouterr().out.splitlines())
        assert (event["specversion"], event["id"], event["source"]) == ("1.0", came.message_id, "/leaving/readers")


class TestReplay:
    async def test_to_every_service(self, library: Leaving, capsys: pytest.CaptureFixture[str]) -> None:
        event = left("one")
        await publish_events(library.readers, event, left("two", "r2"))

        await replay_events(None, (), EventFilter(aggregate="r1"))

        assert capsys.readouterr().out == "readers: 1 event will be published again as soon as readers runs.\n"
        assert await waiting(library.readers) == [event.message_id]

    async def test_to_one_service(self, library: Leaving, capsys: pytest.CaptureFixture[str]) -> None:
        one, two = left("one"), left("two")
        await publish_events(library.readers, one, two)
        await library.shelves.receives(one)

        await replay_events_to("shelves", None, (), ALL, again=False, yes=False)
        await retried(library)

        assert capsys.readouterr().out == "shelves: 1 event will be handled as soon as shelves runs.\n"
        assert shelving.seen == ["one", "two"]
        assert await waiting(library.readers) == []

    async def test_handled_events_are_delivered_again_only_with_the_option(
        self, library: Leaving, capsys: pytest.CaptureFixture[str]
    ) -> None:
        event = left("one")
        await publish_events(library.readers, event)
        await library.shelves.receives(event)
        selection = EventFilter(event_ids=(event.message_id,))

        await replay_events_to("shelves", None, (), selection, again=False, yes=False)
        assert "No event to deliver" in capsys.readouterr().out
        with pytest.raises(CommandError, match="Deliver 1 event to shelves again"):
            await replay_events_to("shelves", None, (), selection, again=True, yes=False)
        await replay_events_to("shelves", None, (), selection, again=True, yes=True)
        await retried(library)

        assert shelving.seen == ["one", "one"]
        assert await failed_rows(library.shelves) == []

    async def test_a_service_that_handles_none_of_them_is_rejected(self, library: Leaving) -> None:
        for service, selection in (("readers", ALL), ("shelves", EventFilter(types=("reader.came",)))):
            with pytest.raises(CommandError, match=f"{service} does not handle these events"):
                await replay_events_to(service, None, (), selection, again=False, yes=False)
        with pytest.raises(NoSuchService, match="Did you mean shelves"):
            await replay_events_to("shelf", None, (), ALL, again=False, yes=False)

    def test_needs_a_selection(self) -> None:
        with pytest.raises(CommandError, match="Which events"):
            read_selection((), (), None, None, None, everything=False)
        with pytest.raises(CommandError, match="Which events"):
            read_selection((), ["reader.left"], None, None, None, everything=True)
        assert read_selection((), (), None, None, None, everything=True) == ALL
