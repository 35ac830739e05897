from typing import Any

from portico.kit import Moment, Schema
from portico.services.identity.models import AuditId


class AuditEntryRead(Schema):
    audit_id: AuditId
    at: Moment
    action: str
    actor: str | None
    user_id: str | None
    address: str | None
    details: dict[str, Any]


class KeySetRead(Schema):
    """A JWK set. The members of a key are spelled as in RFC 7517 in every system."""

    keys: list[dict[str, Any]]
