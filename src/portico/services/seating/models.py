"""Tables of shows, their sections, the states of their seats, and the journal of changes.

Who changes a show's places locks its row in `shows` first, once per transaction.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Index, Integer, LargeBinary
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.contracts.events import OrphanRule, ShowId, ShowStatus, WaitingRoomMode
from portico.kit import TableRules
from portico.kit.data import ExactText, IdentifierNumber, Payload

BLOCK_SIZE: Final = 1_000
"""Bytes of states in one row. On PostgreSQL a row of this size is not moved out of its table's pages."""


class Base(TableRules, DeclarativeBase):
    """Base of the tables of seating."""


class Show(Base):
    """A show, as its events describe it, and the version of its places.

    `event_revision` is the show's revision in the newest event, `layout_revision` that of the stored sections. `version`
    increases with each change of a place; `layout_version` is that of the newest change of the sections. `is_closed` tells
    that the show was deleted, or is about to be: none of its places can be held.

    `is_exhausted`: every place that is not blocked is sold; `exhaustion_number` counts the changes of it.
    """

    __tablename__ = "shows"

    show_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId), primary_key=True, autoincrement=False)
    event_revision: Mapped[int] = mapped_column(Integer)
    layout_revision: Mapped[int] = mapped_column(Integer)
    is_closed: Mapped[bool] = mapped_column(Boolean)
    status: Mapped[ShowStatus] = mapped_column(ExactText(12))
    sold_out_by_hand: Mapped[bool] = mapped_column(Boolean)
    sale_starts_at: Mapped[datetime | None]
    sale_ends_at: Mapped[datetime | None]
    price_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    max_seats_per_user: Mapped[int | None] = mapped_column(Integer)
    orphan_rule: Mapped[OrphanRule] = mapped_column(ExactText(8))
    waiting_room: Mapped[WaitingRoomMode] = mapped_column(ExactText(8))
    version: Mapped[int] = mapped_column(BigInteger)
    layout_version: Mapped[int] = mapped_column(BigInteger)
    is_exhausted: Mapped[bool] = mapped_column(Boolean)
    exhaustion_number: Mapped[int] = mapped_column(Integer)


class ShowSection(Base):
    """A section of a show: its plan, and how many of its places are held, sold and blocked.

    `row_count` and `seats_per_row` are 0 in a standing section.
    """

    __tablename__ = "sections"

    show_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str]
    row_count: Mapped[int] = mapped_column(Integer)
    seats_per_row: Mapped[int] = mapped_column(Integer)
    accessible: Mapped[list[str]] = mapped_column(Payload)
    price_minor: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int] = mapped_column(Integer)
    held: Mapped[int] = mapped_column(Integer)
    sold: Mapped[int] = mapped_column(Integer)
    blocked: Mapped[int] = mapped_column(Integer)


class SeatBlock(Base):
    """A part of the states of a show's places, as `Places.dump` returns them. Block n has those from n * BLOCK_SIZE on."""

    __tablename__ = "seat_blocks"

    show_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    states: Mapped[bytes] = mapped_column(LargeBinary(BLOCK_SIZE))


class SeatChanges(Base):
    """The changes of seats and standing places by one transaction, in one part of the hall.

    A part is a section and eight of its rows; a standing section is one part. It limits how many rows have to be read for
    the history of a seat. `changes` has `[place, state, hold id, reason]` for each; the place is a seat's id, or the number
    of a standing section, whose state is a number of places.
    """

    __tablename__ = "seat_changes"

    show_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId), primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    part: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    changes: Mapped[list[Any]] = mapped_column(Payload)
    changed_at: Mapped[datetime]

    __table_args__ = (Index(None, "show_id", "part", "version"),)
