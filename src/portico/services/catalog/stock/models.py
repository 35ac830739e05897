from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.catalog import ProductId, ReservationId
from portico.kit import identifier
from portico.kit.data import ExactText
from portico.services.catalog.models import Table
from portico.services.catalog.stock.domain import TransactionId

REASON_LENGTH = 100
NOTE_LENGTH = 500
ACTOR_LENGTH = 100
WORD_LENGTH = 12  # of a kind or a status


class StockLevel(Table):
    """Stock level of a product: the sums of its ledger, in a row that can be locked and read.

    It outlives its product while reservations exist.
    """

    __tablename__ = "stock_levels"

    product_id: Mapped[ProductId] = mapped_column(primary_key=True)
    on_hand: Mapped[int] = mapped_column(BigInteger)
    reserved: Mapped[int] = mapped_column(BigInteger)
    entries: Mapped[int] = mapped_column(Integer)
    updated_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("reserved >= 0 AND reserved <= on_hand", name="never_short"),)


class StockTransaction(Table):
    """A ledger entry. Rows are only inserted, while the level is locked."""

    __tablename__ = "stock_transactions"

    product_id: Mapped[ProductId] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    transaction_id: Mapped[TransactionId]
    kind: Mapped[str] = mapped_column(ExactText(WORD_LENGTH))
    quantity: Mapped[int] = mapped_column(BigInteger)
    on_hand_after: Mapped[int] = mapped_column(BigInteger)
    reserved_after: Mapped[int] = mapped_column(BigInteger)
    reference: Mapped[str | None] = mapped_column(ExactText())
    actor: Mapped[str] = mapped_column(ExactText(ACTOR_LENGTH))
    reason: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    note: Mapped[str | None] = mapped_column(String(NOTE_LENGTH))
    created_at: Mapped[datetime]

    __table_args__ = (
        Index(None, "product_id", "created_at", "number"),
        CheckConstraint("reserved_after >= 0 AND reserved_after <= on_hand_after", name="never_short"),
    )


class StockReservation(Table):
    """A reservation, current or ended; also an id that was released before it was reserved."""

    __tablename__ = "stock_reservations"

    reservation_id: Mapped[ReservationId] = identifier()
    status: Mapped[str] = mapped_column(ExactText(WORD_LENGTH))
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (Index(None, "status", "expires_at"),)


class StockReservationItem(Table):
    """A quantity of a product in a reservation."""

    __tablename__ = "stock_reservation_items"

    reservation_id: Mapped[ReservationId] = mapped_column(
        ForeignKey("stock_reservations.reservation_id"), primary_key=True
    )
    product_id: Mapped[ProductId] = mapped_column(primary_key=True)
    quantity: Mapped[int] = mapped_column(BigInteger)
