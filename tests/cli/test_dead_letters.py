import json
from pathlib import Path

import pytest
from tests.cli.leaving import Leaving, dead, shelving

from portico.kit.messaging.runtime import retry_due
from portico.testing.commands import run_portico

pytestmark = pytest.mark.slow


class TestDeadLetters:
    async def test_are_listed_replayed_and_discarded(self, library: Leaving) -> None:
        (*_, last) = await dead(library, "Dune", "Emma", "Ulysses")

        listed = json.loads(await library.output_of("dead-letters", "list", "--json", "--type", "reader.left"))
        assert [letter["letter"] for letter in listed] == ["shelves/1", "shelves/2", "shelves/3"]
        shown = json.loads(await library.output_of("dead-letters", "show", "shelves/1", "--json"))
        assert shown["payload"]["data"]["title"] == "Dune"

        assert "shelves: 1 is retried" in await library.output_of("dead-letters", "replay", "shelves/2")
        assert "shelves: 1 is retried" in await library.output_of("dead-letters", "replay", "--aggregate", "r-Dune")
        library.shelves.clock.advance(600)
        await retry_due(library.shelves.inbox)
        assert shelving.seen == ["Dune", "Emma"]

        done = await library.run("dead-letters", "discard", "--all", "--yes")
        assert (done.returncode, done.stdout) == (0, "shelves: 1 discarded.\n")
        line = json.loads(done.stderr)
        assert (line["event"], line["event_id"]) == ("dead_letter_discarded", last.message_id)
        assert line["by"]
        await library.shelves.receives(last)
        assert shelving.seen == ["Dune", "Emma"]

    def test_a_system_without_databases_is_reported(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "dead-letters", "list")

        assert refused.returncode == 2
        assert "portico up" in refused.stderr
        assert list(tmp_path.iterdir()) == []
