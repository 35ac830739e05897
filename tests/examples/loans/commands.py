from tests.examples.loans.errors import TitleTaken, TooManyLoans
from tests.examples.loans.events import BookLent
from tests.examples.loans.ids import BookId
from tests.examples.loans.models import Book, Loan
from tests.examples.loans.repository import Books, Loans, lock_shelf

from portico.kit import UnitOfWork, UserId


async def add_book(work: UnitOfWork, title: str) -> Book:
    """Raises TitleTaken."""
    book = Book(title=title)
    await work.insert(book, duplicate=TitleTaken(book_title=title))
    return book


async def lend_book(work: UnitOfWork, book_id: BookId, *, reader_id: UserId, allowed: int) -> Loan:
    """Lend `book_id` for a fortnight. Raises BookNotFound, BookAlreadyLent, TooManyLoans."""
    await lock_shelf(work, reader_id)
    if await Loans(work).of_reader(reader_id) >= allowed:
        raise TooManyLoans(allowed=allowed)
    book = await Books(work).get(book_id, lock=True)
    loan = book.lend_to(reader_id, now=work.now)
    work.add(loan)
    work.publish(BookLent(loan_id=loan.loan_id, book_id=book_id, reader_id=reader_id, due_at=loan.due_at))
    return loan
