from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from portico.kit import Seconds, ServiceSettings
from portico.kit.settings import NamesServer


def _elasticsearch_url(text: Any) -> Any:
    parts = urlsplit(str(text))
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write an address such as https://user:password@host:9200")
    return text


ElasticsearchUrl = Annotated[str, BeforeValidator(_elasticsearch_url)]


class SearchSettings(ServiceSettings, env_prefix="SEARCH_"):
    """Settings of search."""

    elasticsearch_url: Annotated[ElasticsearchUrl | None, NamesServer()] = Field(
        None,
        repr=False,
        validation_alias="ELASTICSEARCH_URL",
        description="Elasticsearch or OpenSearch for the index of search: https://user:password@host:9200; the service's "
        "database if unset",
    )
    elasticsearch_timeout: Seconds = Field(
        10.0, gt=0, le=600, description="How long (seconds) a request to Elasticsearch may take"
    )
