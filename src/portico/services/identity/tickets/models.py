from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.identity import SessionId
from portico.kit.data import ExactText
from portico.services.identity.models import Table

TICKET_LIFETIME: Final = timedelta(seconds=30)


class Ticket(Table):
    """A one-time ticket, by its digest. What is got for it lives no longer than the token it was asked with."""

    __tablename__ = "tickets"

    digest: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    session_id: Mapped[SessionId] = mapped_column(ForeignKey("sessions.session_id"))
    token_expires_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
