from datetime import datetime
from typing import Literal

from sqlalchemy import Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId, WaitlistEntryId
from portico.kit import UserId, identifier
from portico.kit.data import ExactText, IdentifierNumber
from portico.services.seating.models import Base

WaitlistStatus = Literal["WAITING", "OFFERED", "BOOKED", "LAPSED", "LEFT"]


class WaitlistEntry(Base):
    """A party in the waiting list of a show. Who changes it locks the row of its show first.

    `number` is the order of joining. `hold_id` is the hold of the newest offer.
    """

    __tablename__ = "waitlist_entries"

    entry_id: Mapped[WaitlistEntryId] = identifier()
    show_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId))
    number: Mapped[int] = mapped_column(Integer)
    user_id: Mapped[UserId]
    quantity: Mapped[int] = mapped_column(Integer)
    status: Mapped[WaitlistStatus] = mapped_column(ExactText(8))
    hold_id: Mapped[HoldId | None]
    joined_at: Mapped[datetime]

    __table_args__ = (
        Index(None, "show_id", "number", unique=True),
        Index(None, "show_id", "status", "number"),
        Index(None, "show_id", "user_id", "number"),
    )
