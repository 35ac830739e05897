from portico.kit import NotFound, Unavailable
from portico.services.search.models import RebuildId


class RebuildNotFound(NotFound):
    detail = "Rebuild {rebuild_id} not found."

    rebuild_id: RebuildId


class IndexUnavailable(Unavailable):
    detail = "The search index is temporarily unavailable. Retry in {retry_after:.0f} seconds."
