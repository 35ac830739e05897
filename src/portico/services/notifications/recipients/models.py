from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from portico.kit.auth.principal import UserId
from portico.services.notifications.models import Table

LONGEST_EMAIL = 320
LONGEST_NAME = 600


class Recipient(Table):
    """How a user is reached. Of a deleted one only that it was is left: what comes late does not bring it back."""

    __tablename__ = "recipients"

    user_id: Mapped[UserId] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(String(LONGEST_EMAIL))
    name: Mapped[str | None] = mapped_column(String(LONGEST_NAME))
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
