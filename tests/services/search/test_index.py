from collections.abc import AsyncIterator

import pytest
from tests.contracts.show_index import ShowIndexContract
from tests.services.search.support import SearchService, open_search

from portico.testing.databases import Databases

FEW_HITS = "portico.services.search.index.statements.FEW_HITS"


class TestSqlIndex(ShowIndexContract):
    """The index in SQLite, PostgreSQL and MariaDB."""

    @pytest.fixture
    async def search(self, databases: Databases) -> AsyncIterator[SearchService]:
        async with open_search(databases) as search:
            yield search


class TestSqlIndexWithManyHits(TestSqlIndex):
    """The same, but the database orders and counts the hits of each search."""

    @pytest.fixture(autouse=True)
    def many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(FEW_HITS, 0)
