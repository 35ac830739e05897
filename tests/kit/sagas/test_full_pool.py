import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from sqlalchemy import literal, select
from tests.examples.loans import service
from tests.examples.loans.desk import Desk
from tests.kit.sagas.library import Library

from portico.kit import Reads, Router, Work
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service

POOL_SIZE = 4
LIMIT = 20.0  # seconds


@dataclass
class Crowd:
    """Requests that hold a connection until the test releases them: twice as many as the pool has connections."""

    arrived: int = 0
    full: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def router(self) -> Router:
        router = Router(prefix="/crowd")

        @router.get("/read")
        async def read(reads: Reads) -> None:
            self._arrive()
            async with reads.snapshot() as snapshot:
                await snapshot.rows(select(literal(1)))
                await self.release.wait()

        @router.post("/write")
        async def write(work: Work) -> None:
            self._arrive()
            await work.execute(select(literal(1)))
            await self.release.wait()

        return router

    def _arrive(self) -> None:
        self.arrived += 1
        if self.arrived == 2 * POOL_SIZE:
            self.full.set()

    @asynccontextmanager
    async def fill(self, loans: RunningService, kind: Literal["read", "write"]) -> AsyncIterator[None]:
        """Fill the pool of readers or of writers."""
        method = "GET" if kind == "read" else "POST"
        caller = loans.anonymous
        requests = [asyncio.create_task(caller.request(method, f"/crowd/{kind}")) for _ in range(2 * POOL_SIZE)]
        await asyncio.wait_for(self.full.wait(), LIMIT)
        yield
        self.release.set()
        assert {each.status_code for each in await asyncio.gather(*requests)} == {200}


@asynccontextmanager
async def crowded_library(databases: Databases) -> AsyncIterator[tuple[Library, Crowd]]:
    crowd, desk = Crowd(), Desk()
    crowded = replace(service, routers=(*service.routers, crowd.router()))
    variables = {"DATABASE_POOL_SIZE": str(POOL_SIZE)}
    async with run_service(crowded, databases, channel=desk, variables=variables) as loans:
        yield Library(loans, desk), crowd


class TestASaga:
    async def test_advances_while_requests_hold_the_connections_for_reading(self, databases: Databases) -> None:
        async with crowded_library(databases) as (library, crowd), crowd.fill(library.loans, "read"):
            lending = await library.asked()

            await asyncio.wait_for(library.loans.sagas_rest(), LIMIT)

            assert await library.story(lending) == "asked reserved paid lent"

    async def test_advances_while_requests_hold_the_connections_for_writing(self, server_databases: Databases) -> None:
        async with crowded_library(server_databases) as (library, crowd), crowd.fill(library.loans, "write"):
            lending = await library.asked()

            await asyncio.wait_for(library.loans.sagas_rest(), LIMIT)

            assert await library.story(lending) == "asked reserved paid lent"
