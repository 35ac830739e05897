"""The index in a cluster. `make opensearch` installs the server of these tests; without it they are skipped."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from tests.contracts.show_index import ShowIndexContract
from tests.services.search.opensearch import OpenSearchServer
from tests.services.search.support import SearchService, open_search

from portico.kit.settings import SettingsError
from portico.servers import ProgramMissing
from portico.services.search.settings import SearchSettings
from portico.testing.databases import Databases


@pytest.fixture(scope="module")
def opensearch() -> Iterator[OpenSearchServer]:
    try:
        server = OpenSearchServer()
    except ProgramMissing as missing:
        pytest.skip(f"OpenSearch: {missing.names[0]} is absent; `make opensearch` installs it (with Java and Maven)")
    with server:
        yield server


@pytest.mark.slow  # the server takes half a minute to start
class TestElasticsearchIndex(ShowIndexContract):
    @pytest.fixture
    async def search(self, opensearch: OpenSearchServer, sqlite_databases: Databases) -> AsyncIterator[SearchService]:
        async with aiohttp.ClientSession() as session, session.delete(f"{opensearch.url()}/catalog-search-shows-*"):
            pass
        async with open_search(
            sqlite_databases, ELASTICSEARCH_URL=opensearch.url(), SEARCH_ELASTICSEARCH_TIMEOUT="60"
        ) as search:
            yield search

    async def settle(self, search: SearchService) -> None:
        url = search.run.context.settings_of(SearchSettings).elasticsearch_url
        async with aiohttp.ClientSession() as session, session.post(f"{url}/_refresh"):
            pass


class TestAbsentCluster:
    async def test_answers_503_and_the_service_stays_ready(self, sqlite_databases: Databases) -> None:
        async with open_search(sqlite_databases, ELASTICSEARCH_URL="http://127.0.0.1:9") as search:
            answer = await search.run.anonymous.get("/search?q=queen")
            assert (answer.status_code, answer.json()["code"]) == (503, "index_unavailable")
            assert "retry-after" in answer.headers
            assert (await search.run.anonymous.get("/health/ready")).status_code == 200

    @pytest.mark.parametrize("url", ["localhost:9200", "ftp://host", "http://"])
    async def test_an_invalid_address_is_refused(self, sqlite_databases: Databases, url: str) -> None:
        with pytest.raises(SettingsError, match="ELASTICSEARCH_URL"):
            async with open_search(sqlite_databases, ELASTICSEARCH_URL=url):
                pass
