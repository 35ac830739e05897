from collections.abc import AsyncIterator

import pytest
from tests.contracts.show_index import ShowIndexContract
from tests.services.search.support import SearchService, open_search

from portico.testing.databases import Databases


class TestSqlIndex(ShowIndexContract):
    """The index in SQLite, PostgreSQL and MariaDB."""

    @pytest.fixture
    async def search(self, databases: Databases) -> AsyncIterator[SearchService]:
        async with open_search(databases) as search:
            yield search
