import asyncio
from collections.abc import Sequence
from typing import Any

from tests.kit.executed import Statements
from tests.kit.sagas.library import open_library

from portico.kit.sagas.leases import SagaLeases
from portico.testing.databases import Databases

LIMIT = 20.0  # seconds


class TestIdleRunner:
    async def test_only_queries_the_next_due_time_at_intervals(self, sqlite_databases: Databases) -> None:
        async with open_library(sqlite_databases, variables={"SAGA_POLL": "0.01"}) as library:
            database, runner = library.loans.context.database, library.runner
            running = asyncio.create_task(runner.run())
            await asyncio.wait_for(runner.wait_until_idle(), LIMIT)
            reads, writes = Statements(database.reader, count=10), Statements(database.writer)

            await asyncio.wait_for(reads.executed.wait(), LIMIT)
            running.cancel()

            assert writes.texts == []
            assert all(statement.startswith("SELECT min(sagas.due_at)") for statement in reads.texts)
            await asyncio.wait({running})


class Away(SagaLeases):
    """The database is unavailable at first."""

    failures = 0

    async def claim(self, limit: int) -> Sequence[Any]:
        if self.failures < 2:
            self.failures += 1
            raise ConnectionRefusedError
        return await super().claim(limit)


class TestUnavailableDatabase:
    async def test_is_waited_for(self, databases: Databases) -> None:
        async with open_library(databases, variables={"SAGA_POLL": "60"}) as library:
            runner = library.runner
            runner._leases = Away(library.loans.context, runner._known, runner.owner)
            lending = await library.asked()

            running = asyncio.create_task(runner.run())
            await asyncio.wait_for(runner.wait_until_idle(), LIMIT)
            running.cancel()
            await asyncio.wait({running})

            assert await library.story(lending) == "asked reserved paid lent"
            assert runner.metrics.claim_error is None
