"""One OpenAPI document for the whole system."""

from portico.gateway.documents.fetching import Documents
from portico.gateway.documents.merging import merge

__all__ = ["Documents", "merge"]
