"""OpenAPI document of the whole system, merged from the documents of its services."""

from portico.gateway.openapi.document import SystemDocument
from portico.gateway.openapi.merge import merge_documents

__all__ = ["SystemDocument", "merge_documents"]
