from typing import Any

from portico.kit import Moment, Schema
from portico.services.identity.audit.models import AuditId


class AuditEntryRead(Schema):
    audit_id: AuditId
    at: Moment
    action: str
    actor: str | None
    user_id: str | None
    address: str | None
    details: dict[str, Any]
