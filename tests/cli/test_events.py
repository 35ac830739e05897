import asyncio
import json

import pytest
from tests.cli.leaving import Leaving
from tests.kit.messaging.leaving import left, publish_events, waiting

from portico.testing.commands import eventually

pytestmark = pytest.mark.slow


class TestEvents:
    async def test_follows_new_events(self, library: Leaving) -> None:
        await publish_events(library.readers, left("one"))

        with library.start("events", "tail", "--follow", "--json") as tail:
            await asyncio.to_thread(eventually, lambda: '"title":"one"' in tail.out, "the first event")
            await publish_events(library.readers, left("two"))
            await asyncio.to_thread(eventually, lambda: '"title":"two"' in tail.out, "the second event")
            titles = [json.loads(line)["data"]["title"] for line in tail.out.splitlines()]

        assert titles == ["one", "two"]

    async def test_publishes_events_again(self, library: Leaving) -> None:
        event = left("one")
        await publish_events(library.readers, event)

        await library.output_of("events", "replay", event.message_id)

        assert await waiting(library.readers) == [event.message_id]

    async def test_again_needs_one_service(self, library: Leaving) -> None:
        refused = await library.run("events", "replay", "--all", "--again")

        assert refused.returncode == 2
        assert "--again needs one service" in refused.stderr
