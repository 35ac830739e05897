from typing import Annotated, Literal

from fastapi import Query
from tests.examples.loans import commands
from tests.examples.loans.errors import BookAlreadyLent, BookNotFound, LoanNotFound, TitleTaken, TooManyLoans
from tests.examples.loans.ids import BookId, LoanId
from tests.examples.loans.models import Book, Loan
from tests.examples.loans.repository import BY_TITLE, Books, Loans
from tests.examples.loans.schemas import BookCreate, BookRead, LoanCreate, LoanRead
from tests.examples.loans.settings import LoansSettings

from portico.kit import (
    AnyCaller,
    Conditions,
    Context,
    FromService,
    Page,
    Principal,
    Reads,
    Router,
    SignedIn,
    Slice,
    Work,
    permitted,
)

router = Router(prefix="/loans", tags=["loans"])
books = Router(prefix="/books", tags=["books"])

Librarian = Annotated[Principal, permitted("books:write")]


@router.post("", status_code=201, response_model=LoanRead, errors=[BookNotFound, BookAlreadyLent, TooManyLoans])
async def lend_book(body: LoanCreate, caller: SignedIn, work: Work, context: Context) -> Loan:
    """Lend a book to the caller for two weeks."""
    allowed = context.settings_of(LoansSettings).per_reader
    return await commands.lend_book(work, body.book_id, reader_id=caller.user_id, allowed=allowed)


@router.get("/{loan_id}", response_model=LoanRead, errors=[LoanNotFound])
async def read_loan(loan_id: LoanId, caller: SignedIn, reads: Reads) -> Loan:
    """Return a loan."""
    return await Loans(reads).get(loan_id)


@router.delete("/{loan_id}", status_code=204, errors=[LoanNotFound])
async def end_loan(loan_id: LoanId, caller: FromService, work: Work) -> None:
    """End a loan, for other services."""
    await work.delete(await Loans(work).get(loan_id, lock=True))


@books.post("", status_code=201, response_model=BookRead, errors=[TitleTaken])
async def add_book(body: BookCreate, caller: Librarian, work: Work) -> Book:
    """Add a book."""
    return await commands.add_book(work, body.title)


@books.get("", response_model=list[BookRead])
async def list_books(page: Page, reads: Reads, sort_by: Literal["newest", "title"] = "newest") -> Slice[Book]:
    """List the books."""
    return await Books(reads).page(page, order=BY_TITLE if sort_by == "title" else None)


@books.get("/greeting")
async def greet(caller: AnyCaller, page_size: Annotated[int, Query(ge=1)] = 1) -> dict[str, str | int]:
    """Greet the caller."""
    return {"greeting": "hello" if caller is None else f"hello {caller.subject}", "page_size": page_size}


@books.get("/{book_id}", response_model=BookRead, errors=[BookNotFound])
async def read_book(book_id: BookId, reads: Reads) -> Book:
    """Return a book."""
    return await Books(reads).get(book_id)


@books.put("/{book_id}", response_model=BookRead, errors=[BookNotFound])
async def rename_book(book_id: BookId, body: BookCreate, caller: Librarian, work: Work, conditions: Conditions) -> Book:
    """Change the title of a book."""
    book = await Books(work).get(book_id, lock=True)
    conditions.require(book)
    book.title = body.title
    return book
