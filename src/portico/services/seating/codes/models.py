from datetime import datetime

from sqlalchemy import BigInteger, Integer
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.events import ShowId
from portico.kit.data import ExactText, IdentifierNumber
from portico.services.seating.codes.domain import MAX_CODE_LENGTH, CodeKind
from portico.services.seating.models import Base


class CodeRow(Base):
    """A code of a show. Who changes it locks the row of the show first.

    `code_key` is the code without case. `used_seats` counts the places that are held or sold with it.
    """

    __tablename__ = "codes"

    show_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId), primary_key=True, autoincrement=False)
    code_key: Mapped[str] = mapped_column(ExactText(MAX_CODE_LENGTH), primary_key=True)
    code: Mapped[str] = mapped_column(ExactText(MAX_CODE_LENGTH))
    kind: Mapped[CodeKind] = mapped_column(ExactText(8))
    percent_off: Mapped[int] = mapped_column(Integer)
    amount_off: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    max_seats: Mapped[int | None] = mapped_column(Integer)
    used_seats: Mapped[int] = mapped_column(Integer)
    valid_from: Mapped[datetime | None]
    valid_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
