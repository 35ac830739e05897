from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId, HoldStatus, WaitlistEntryId
from portico.kit import UserId, identifier
from portico.kit.data import ExactText, IdentifierNumber, Payload
from portico.services.seating.codes.domain import MAX_CODE_LENGTH
from portico.services.seating.models import Base


class HoldRow(Base):
    """A hold. Who changes it locks the row of its show first.

    `places` has `[seat id, section number, section, row, number, price in minor units, is returned]` for each place.
    `used` is the number of places that count towards the user's limit: all while they are held, those that are not returned
    when they are sold. `return_keys` are the keys of the returns that were made. `entry_id` is the entry in the waiting list
    that the hold is an offer to.
    """

    __tablename__ = "holds"

    hold_id: Mapped[HoldId] = identifier()
    show_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId))
    user_id: Mapped[UserId]
    status: Mapped[HoldStatus] = mapped_column(ExactText(8))
    places: Mapped[list[Any]] = mapped_column(Payload)
    used: Mapped[int] = mapped_column(Integer)
    discount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    is_adjacent: Mapped[bool] = mapped_column(Boolean)
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime]
    booking_id: Mapped[str | None] = mapped_column(ExactText())
    return_keys: Mapped[list[str]] = mapped_column(Payload)
    code_key: Mapped[str | None] = mapped_column(ExactText(MAX_CODE_LENGTH))
    changes: Mapped[int] = mapped_column(Integer)
    entry_id: Mapped[WaitlistEntryId | None]

    __table_args__ = (Index(None, "show_id", "user_id"), Index(None, "status", "expires_at"))
