"""Shows and a rebuild for the generated requests to search."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.services.search.support import open_search

from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing


@asynccontextmanager
async def open_for_fuzzing(databases: Databases, _folder: Path) -> AsyncIterator[Fuzzing]:
    """Run search with a few shows and a rebuild that has ended."""
    async with open_search(databases) as search:
        for name in ("Queen", "Crème Orchestra"):
            await search.show(name)
        rebuilt = await search.rebuild()
        token = search.run.issuer.token
        bearers = [
            token(permissions=["*"], lasting=10_000_000),
            token("service:orders", permissions=["*"], lasting=10_000_000),
            None,
        ]
        yield Fuzzing(search.run, bearers, known={"rebuild_id": [rebuilt["rebuild_id"]]})
