"""Search: finds shows by words, with typos, filters and facets. It is fed by the events of the shows alone."""

from portico.kit import Service
from portico.services.search import api, consumers
from portico.services.search.index.base import ShowIndex
from portico.services.search.index.factory import open_index
from portico.services.search.models import Base
from portico.services.search.rebuilder import Rebuilder, open_rebuilder, run_rebuilder
from portico.services.search.settings import SearchSettings

service = Service(
    name="search",
    summary="Search for shows by words, with filters and facets",
    module=__name__,
    routers=[api.router],
    consumers=[consumers.index_show],
    background=[run_rebuilder],
    tables=Base.metadata,
    settings=SearchSettings,
    resources={ShowIndex: open_index, Rebuilder: open_rebuilder},
    calls=["identity"],
)
