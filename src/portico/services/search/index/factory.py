"""Open the index that the settings describe."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portico.kit import ServiceContext
from portico.services.search.index.base import ShowIndex
from portico.services.search.index.sql import SqlIndex
from portico.services.search.settings import SearchSettings


@asynccontextmanager
async def open_index(context: ServiceContext) -> AsyncIterator[ShowIndex]:
    """Open Elasticsearch if `ELASTICSEARCH_URL` is set, otherwise the index in the service's database."""
    settings = context.settings_of(SearchSettings)
    if settings.elasticsearch_url is None:
        async with context.reader() as reader:
            yield SqlIndex(reader.database.dialect)
        return
    # Slow to import; needed for Elasticsearch only.
    from portico.services.search.index.elasticsearch import ElasticsearchIndex

    index = ElasticsearchIndex(
        settings.elasticsearch_url,
        name=f"{context.system.name}-{context.name}",
        timeout=settings.elasticsearch_timeout,
    )
    context.health.add("elasticsearch", index.check, critical=False)
    try:
        yield index
    finally:
        await index.aclose()
