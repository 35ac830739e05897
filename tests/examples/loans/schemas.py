from typing import Any

from pydantic import Field
from tests.examples.loans.ids import BookId, LoanId

from portico.kit import Line, Moment, Schema, UserId


class BookCreate(Schema):
    title: Line
    shelf_marks: dict[str, Any] = Field(default_factory=dict)


class BookRead(Schema):
    book_id: BookId
    title: str
    lent_until: Moment | None


class LoanCreate(Schema):
    book_id: BookId


class LoanRead(Schema):
    loan_id: LoanId
    book_id: BookId
    reader_id: UserId
    due_at: Moment
