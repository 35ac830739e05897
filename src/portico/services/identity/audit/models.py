from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from portico.kit import Identifier, identifier
from portico.kit.data import ExactText, Payload
from portico.services.identity.models import Table


class AuditId(Identifier, prefix="audit"):
    """An entry of the audit log."""


class AuditEntry(Table):
    """One thing that happened: who did what to whom, from where. `details` hold no secret and no email address."""

    __tablename__ = "audit_log"

    audit_id: Mapped[AuditId] = identifier()
    at: Mapped[datetime]
    action: Mapped[str] = mapped_column(ExactText(48), index=True)
    actor: Mapped[str | None] = mapped_column(ExactText(80))
    user_id: Mapped[str | None] = mapped_column(ExactText(48), index=True)
    address: Mapped[str | None] = mapped_column(ExactText(64))
    details: Mapped[dict[str, Any]] = mapped_column(Payload)
