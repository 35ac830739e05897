"""Tables of search: the documents, two index slots, and the rebuilds.

An index is built in one of two slots, `a` and `b`. One of them is live. The full-text tables `texts_a` and `texts_b` differ
per database; the migration creates them.
"""

from datetime import datetime
from typing import Any, Final, Literal, get_args

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.contracts.events import ShowId
from portico.kit import Identifier, TableRules, identifier, revision
from portico.kit.data import ExactText, IdentifierNumber, Payload
from portico.services.search.document import MAX_LABEL_LENGTH, Document
from portico.services.search.domain import MAX_WORD_LENGTH

Slot = Literal["a", "b"]
RebuildStatus = Literal["PENDING", "BUILDING", "COMPLETED", "FAILED"]

SLOTS: Final[tuple[Slot, ...]] = get_args(Slot)
OPEN: Final[tuple[RebuildStatus, ...]] = ("PENDING", "BUILDING")
LIVE_ROW: Final = "live"
MAX_KEY_LENGTH: Final = 8


class RebuildId(Identifier, prefix="rebuild"):
    """Id of a rebuild of the index."""


class Base(TableRules, DeclarativeBase):
    """Base of the tables of search."""


class ShowDocument(Base):
    """The newest state of a show, from its events. An index can be rebuilt from these rows alone.

    The row of a deleted show stays, so that a late event does not restore the show. `event_revision` is the show's
    revision in the newest event.
    """

    __tablename__ = "documents"

    show_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId), primary_key=True, autoincrement=False)
    event_revision: Mapped[int] = mapped_column(Integer)
    is_deleted: Mapped[bool] = mapped_column(Boolean)
    fingerprint: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[dict[str, Any]] = mapped_column(Payload)

    @property
    def document(self) -> Document:
        return Document.of_data(self.data)

    def apply(self, document: Document | None, event_revision: int) -> bool:
        """Take over the state after an event, None for a deleted show. Return False if the event is outdated."""
        if event_revision <= self.event_revision:
            return False
        self.event_revision = event_revision
        self.is_deleted = document is None
        self.fingerprint = 0 if document is None else document.fingerprint
        self.data = {} if document is None else document.data
        return True


class IndexState(Base):
    """The only row: which slot is live, and which one is being built, if any.

    Who changes documents locks it for sharing; who swaps the slots locks it alone.
    """

    __tablename__ = "index_state"

    name: Mapped[str] = mapped_column(ExactText(10), primary_key=True)
    live: Mapped[Slot] = mapped_column(ExactText(1))
    building: Mapped[Slot | None] = mapped_column(ExactText(1))

    @property
    def written(self) -> list[Slot]:
        """The slots that every change is written to."""
        return [slot for slot in SLOTS if slot in {self.live, self.building}]

    @property
    def idle(self) -> Slot:
        """The slot that is not live."""
        return "b" if self.live == "a" else "a"


class Rebuild(Base):
    """A rebuild of the index. `position` is the show up to which it has come; `owner` is the process that runs it."""

    __tablename__ = "rebuilds"

    rebuild_id: Mapped[RebuildId] = identifier()
    status: Mapped[RebuildStatus] = mapped_column(ExactText(12))
    documents: Mapped[int | None] = mapped_column(Integer)
    indexed: Mapped[int] = mapped_column(Integer)
    failure_reason: Mapped[str | None] = mapped_column(ExactText(40))
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    position: Mapped[int] = mapped_column(BigInteger)
    owner: Mapped[str | None] = mapped_column(ExactText(16))
    leased_until: Mapped[datetime | None]
    revision: Mapped[int] = revision()

    __table_args__ = (Index(None, "status"),)


def _shows(slot: Slot, metadata: MetaData) -> Table:
    return Table(
        f"shows_{slot}",
        metadata,
        # INTEGER is the row's place in SQLite; a BIGINT would be looked up in an index first.
        Column("show_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
        Column("fingerprint", BigInteger, nullable=False),
        Column("status_rank", Integer, nullable=False),
        Column("starts_at", BigInteger, nullable=False),
        Column("status", ExactText(12), nullable=False),
        Column("category", ExactText(MAX_LABEL_LENGTH)),
        Column("category_key", ExactText(MAX_LABEL_LENGTH)),
        Column("venue_name", ExactText(MAX_LABEL_LENGTH), nullable=False),
        Column("month", ExactText(7), nullable=False),
        Column("local_date", ExactText(10), nullable=False),
        Column("price_order", BigInteger, nullable=False),
        Index(None, "status_rank", "starts_at", "show_id"),
    )


def _words(slot: Slot, metadata: MetaData) -> Table:
    return Table(f"words_{slot}", metadata, Column("word", ExactText(MAX_WORD_LENGTH), primary_key=True))


def _typo_keys(slot: Slot, metadata: MetaData) -> Table:
    return Table(
        f"typo_keys_{slot}",
        metadata,
        Column("typo_key", ExactText(MAX_KEY_LENGTH), primary_key=True),
        Column("word", ExactText(MAX_WORD_LENGTH), primary_key=True),
        sqlite_with_rowid=False,
    )


SHOWS: Final = {slot: _shows(slot, Base.metadata) for slot in SLOTS}
WORDS: Final = {slot: _words(slot, Base.metadata) for slot in SLOTS}
TYPO_KEYS: Final = {slot: _typo_keys(slot, Base.metadata) for slot in SLOTS}
