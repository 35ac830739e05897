"""Any sequence of failures of another service, with real rows and runners: sagas always end, and the money is right."""

import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.examples.loans.ids import LendingId
from tests.kit.sagas.library import Library, open_library

from portico.kit.foundation.problems import Conflict
from portico.testing.databases import Databases

FAULTS = ["none", "lost", "dropped", "refused", "busy", "broken", "processing", "late"]
PAID = "asked reserved paid lent"

_numbers = itertools.count()


@pytest.fixture(params=[False, True], ids=["once", "again"])
async def library(request: pytest.FixtureRequest, sqlite_databases: Databases) -> AsyncIterator[Library]:
    """Run a library without and with retries of calls."""
    async with open_library(sqlite_databases, retries=request.param) as library:
        yield library


class TestAnyStory:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.lists(st.sampled_from(FAULTS), max_size=8), min_size=1, max_size=4), st.none() | st.integers(0, 3)
    )
    @example([["late", "refused"]], None)
    @example([["late", "late", "late", "broken", "lost"]], 1)
    async def test_ends_with_the_deposit_kept_of_those_who_got_the_book(
        self, library: Library, stories: list[list[Any]], cancelled_at: int | None
    ) -> None:
        library.desk.script.clear()
        lendings = []
        for story in stories:
            library.desk.will(*story)
            lendings.append(await library.asked(f"Volume {next(_numbers)}"))
            await library.runner.run_due()

        for turn in range(40):
            if turn == cancelled_at:
                with suppress(Conflict):  # it is too late to cancel
                    await library.cancelled(lendings[0])
            await library.after(60)
            if turn > 3 and await self._all_ended(library, lendings):
                break
        library.desk.arrive()

        timeline_text = {each: await library.story(each) for each in lendings}
        assert await self._all_ended(library, lendings)
        assert {story for story in timeline_text.values() if not story.endswith("given_up")} <= {PAID}
        for lending, story in timeline_text.items():
            assert (f"{lending}/deposit" in library.desk.kept) == (story == PAID)
            assert (await library.saga_status(lending)).status == ("done" if story == PAID else "undone")

    async def _all_ended(self, library: Library, lendings: list[LendingId]) -> bool:
        return all([(await library.saga_status(each)).due_at is None for each in lendings])
