from portico.kit import NotFound
from portico.services.search.models import RebuildId


class RebuildNotFound(NotFound):
    detail = "Rebuild {rebuild_id} not found."

    rebuild_id: RebuildId
