from datetime import datetime

from tests.examples.loans.ids import BookId, LendingId, LoanId

from portico.kit import Conflict, NotFound


class BookNotFound(NotFound):
    detail = "There is no book {book_id}."

    book_id: BookId


class LoanNotFound(NotFound):
    detail = "There is no loan {loan_id}."

    loan_id: LoanId


class LendingNotFound(NotFound):
    detail = "There is no lending {lending_id}."

    lending_id: LendingId


class BookAlreadyLent(Conflict):
    detail = "Another reader has this book until {until:%d %B}."

    book_id: BookId
    until: datetime


class TitleTaken(Conflict):
    detail = "There is a book called {book_title} already."

    book_title: str


class TooManyLoans(Conflict):
    detail = "A reader has {allowed} books at most."

    allowed: int
