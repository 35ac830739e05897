from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.events import ShowId
from portico.contracts.seating import QueueId
from portico.kit import UserId
from portico.kit.data import ExactText, IdentifierNumber
from portico.services.seating.models import Base
from portico.services.seating.queue.domain import EntryStatus


class QueueRow(Base):
    """The queue of a show. Each batch of changes to the queue or its entries locks this row first.

    `last_number` is the number of the newest entry, `admitted_through` that of the last admitted one: no entry up to it waits.
    `waiting` and `shopping` count the entries that wait and those that are admitted. `rate` is the number of admissions in
    a million seconds at `rated_at`, as a moving average. `due_at` is when the queue is processed next; it is only
    processed if `is_active`.
    """

    __tablename__ = "queues"

    show_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId), primary_key=True, autoincrement=False)
    last_number: Mapped[int] = mapped_column(BigInteger)
    admitted_through: Mapped[int] = mapped_column(BigInteger)
    waiting: Mapped[int] = mapped_column(Integer)
    shopping: Mapped[int] = mapped_column(Integer)
    rate: Mapped[int] = mapped_column(BigInteger)
    rated_at: Mapped[datetime]
    ledger_size: Mapped[int] = mapped_column(BigInteger)
    ledger_hash: Mapped[str] = mapped_column(ExactText(64))
    is_active: Mapped[bool] = mapped_column(Boolean)
    due_at: Mapped[datetime]

    __table_args__ = (Index(None, "is_active", "due_at"),)


class QueueEntry(Base):
    """A place in a queue. A user has at most one that is WAITING or ADMITTED."""

    __tablename__ = "queue_entries"

    show_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    queue_id: Mapped[QueueId]
    user_id: Mapped[UserId]
    status: Mapped[EntryStatus] = mapped_column(ExactText(8))
    joined_at: Mapped[datetime]
    admitted_at: Mapped[datetime | None]
    admitted_until: Mapped[datetime | None]

    __table_args__ = (Index(None, "show_id", "user_id"), Index(None, "show_id", "status", "number"))


class LedgerRow(Base):
    """A record of a queue's ledger: an entry joined, was admitted, or left before admission."""

    __tablename__ = "queue_ledger"

    show_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId), primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger)
    joined_at: Mapped[datetime]
    admitted_at: Mapped[datetime | None]
    left_at: Mapped[datetime | None]
    hash: Mapped[str] = mapped_column(ExactText(64))
