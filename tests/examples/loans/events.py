from datetime import datetime

from tests.examples.loans.ids import BookId, LoanId

from portico.kit import Event, UserId


class BookLent(Event, type="book.lent", version=1, aggregate="book_id"):
    """A reader has the book from now on."""

    loan_id: LoanId
    book_id: BookId
    reader_id: UserId
    due_at: datetime
