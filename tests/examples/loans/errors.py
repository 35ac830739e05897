from datetime import datetime

from tests.examples.loans.ids import BookId, LendingId, LoanId

from portico.kit import Conflict, NotFound


class BookNotFound(NotFound):
    code = "book_not_found"
    detail = "There is no book {book_id}."

    book_id: BookId


class LoanNotFound(NotFound):
    code = "loan_not_found"
    detail = "There is no loan {loan_id}."

    loan_id: LoanId


class LendingNotFound(NotFound):
    code = "lending_not_found"
    detail = "There is no lending {lending_id}."

    lending_id: LendingId


class BookAlreadyLent(Conflict):
    code = "book_already_lent"
    detail = "Another reader has this book until {until:%d %B}."

    book_id: BookId
    until: datetime


class TitleTaken(Conflict):
    code = "title_taken"
    detail = "There is a book called {book_title} already."

    book_title: str


class TooManyLoans(Conflict):
    code = "too_many_loans"
    detail = "A reader has {allowed} books at most."

    allowed: int
