from datetime import datetime, timedelta

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from tests.examples.loans.errors import BookAlreadyLent
from tests.examples.loans.ids import BookId, LendingId, LoanId

from portico.kit import TableRules, UserId, identifier, revision

FORTNIGHT = timedelta(days=14)


class Table(TableRules, DeclarativeBase):
    """The tables of loans."""


class Shelf(Table):
    """The shelf of a reader. Adding a book locks its row."""

    __tablename__ = "shelves"

    reader_id: Mapped[UserId] = mapped_column(primary_key=True)


class Loan(Table):
    __tablename__ = "loans"

    loan_id: Mapped[LoanId] = identifier()
    book_id: Mapped[BookId] = mapped_column(index=True)
    reader_id: Mapped[UserId] = mapped_column(index=True)
    due_at: Mapped[datetime]


class Book(Table):
    __tablename__ = "books"
    __table_args__ = (UniqueConstraint("title"),)

    book_id: Mapped[BookId] = identifier()
    title: Mapped[str]
    lent_until: Mapped[datetime | None]
    revision: Mapped[int] = revision()

    def lend_to(self, reader_id: UserId, *, now: datetime) -> Loan:
        if self.lent_until is not None:
            raise BookAlreadyLent(book_id=self.book_id, until=self.lent_until)
        self.lent_until = now + FORTNIGHT
        return Loan(book_id=self.book_id, reader_id=reader_id, due_at=self.lent_until)


class Lending(Table):
    """A wish for a book that is lent for a deposit; `story` is every state that it was in, so that a test can read it."""

    __tablename__ = "lendings"

    lending_id: Mapped[LendingId] = identifier()
    book_id: Mapped[BookId]
    reader_id: Mapped[UserId]
    story: Mapped[str]
    charge_id: Mapped[str | None]
    reason: Mapped[str | None] = mapped_column(String(500))

    def moved(self, state: str) -> None:
        self.story = f"{self.story} {state}"
