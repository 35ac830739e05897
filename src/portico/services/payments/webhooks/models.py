from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from portico.kit.data import ExactText
from portico.services.payments.models import Table

EVENT_ID_LENGTH = 255
PROVIDER_LENGTH = 40


class WebhookEvent(Table):
    """An event of a provider that was handled: the same one does nothing any more."""

    __tablename__ = "webhook_events"

    provider: Mapped[str] = mapped_column(ExactText(PROVIDER_LENGTH), primary_key=True)
    event_id: Mapped[str] = mapped_column(ExactText(EVENT_ID_LENGTH), primary_key=True)
    type: Mapped[str] = mapped_column(ExactText(100))
    received_at: Mapped[datetime] = mapped_column(index=True)
