from datetime import datetime
from typing import Final, Literal

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.bookings import CheckInId, TicketId
from portico.contracts.events import ShowId
from portico.kit import identifier, revision
from portico.kit.data import ExactText, IdentifierNumber
from portico.services.bookings.check_ins.errors import CheckInSuperseded
from portico.services.bookings.models import Base
from portico.services.bookings.tickets.domain import SERIAL_LENGTH

CheckInStatus = Literal["ACTIVE", "SUPERSEDED", "UNDONE"]

GATE_LENGTH: Final = 64
SCAN_ID_LENGTH: Final = 64
REASON_LENGTH: Final = 500


class CheckIn(Base):
    """A scan that let a person in.

    The ACTIVE one of a ticket counts. An earlier scan that arrives later supersedes it: two people came with one ticket.

    serial: serial of the scanned code.
    scan_id: id that the scanner chose; a repeat with the same id gets the same response.
    checked_in_at: when the code was scanned.
    created_at: when the server received the scan.
    changed_at: when the row changed last; the manifest lists rows by it.
    """

    __tablename__ = "check_ins"

    check_in_id: Mapped[CheckInId] = identifier()
    ticket_id: Mapped[TicketId] = mapped_column(ForeignKey("tickets.ticket_id"))
    event_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId))
    serial: Mapped[str] = mapped_column(ExactText(SERIAL_LENGTH))
    scan_id: Mapped[str | None] = mapped_column(ExactText(SCAN_ID_LENGTH))
    gate: Mapped[str | None] = mapped_column(String(GATE_LENGTH))
    status: Mapped[str] = mapped_column(ExactText(10))
    checked_in_at: Mapped[datetime]
    checked_in_by: Mapped[str] = mapped_column(ExactText())
    superseded_by: Mapped[CheckInId | None]
    undone_at: Mapped[datetime | None]
    undone_by: Mapped[str | None] = mapped_column(ExactText())
    undo_reason: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    revision: Mapped[int] = revision()

    __table_args__ = (
        UniqueConstraint("event_id", "scan_id"),
        Index(None, "ticket_id", "status"),
        Index(None, "event_id", "check_in_id"),
        Index(None, "event_id", "changed_at", "check_in_id"),
    )

    def supersede(self, by: CheckInId, *, now: datetime) -> None:
        """Record that an earlier scan counts instead."""
        self.status, self.superseded_by, self.changed_at = "SUPERSEDED", by, now

    def undo(self, *, by: str, reason: str, now: datetime) -> bool:
        """Take the check-in back. Return whether that changed anything. Raises CheckInSuperseded."""
        if self.status == "UNDONE":
            return False
        if self.superseded_by is not None:
            raise CheckInSuperseded(superseded_by=self.superseded_by)
        self.status, self.undone_at, self.undone_by, self.undo_reason = "UNDONE", now, by, reason
        self.changed_at = now
        return True
