import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import event
from tests.kit.sagas.library import open_library

from portico.kit.sagas.leases import SagaLeases
from portico.testing.databases import Databases

LIMIT = 20.0  # seconds


class Statements:
    """Counts what is said to an engine."""

    def __init__(self, engine: Any) -> None:
        self.said: list[str] = []
        self.several = asyncio.Event()
        event.listen(engine.sync_engine, "before_cursor_execute", self._heard)

    def _heard(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        self.said.append(statement)
        if len(self.said) >= 10:
            self.several.set()


class TestARunnerWithNothingToDo:
    async def test_only_asks_now_and_then_when_something_is_due(self, sqlite_databases: Databases) -> None:
        async with open_library(sqlite_databases, variables={"SAGA_POLL": "0.01"}) as library:
            database, runner = library.loans.context.database, library.runner
            running = asyncio.create_task(runner.run())
            await asyncio.wait_for(runner.wait_until_idle(), LIMIT)
            reads, writes = Statements(database.reader), Statements(database.writer)

            await asyncio.wait_for(reads.several.wait(), LIMIT)
            running.cancel()

            assert writes.said == []
            assert all(statement.startswith("SELECT min(sagas.due_at)") for statement in reads.said)
            await asyncio.wait({running})


class Away(SagaLeases):
    """The database is away at first."""

    failures = 0

    async def claim(self, limit: int) -> Sequence[Any]:
        if self.failures < 2:
            self.failures += 1
            raise ConnectionRefusedError
        return await super().claim(limit)


class TestADatabaseThatIsAway:
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
