from sqlalchemy import func, select
from tests.examples.loans.errors import BookNotFound, LendingNotFound, LoanNotFound
from tests.examples.loans.models import Book, Lending, Loan, Shelf

from portico.kit import Keyset, Repository, Slice, UnitOfWork, UserId, Window
from portico.kit.data import insert_if_absent

BY_TITLE = Keyset.by("title", Book.title, Book.book_id)
NEWEST = Keyset.by("newest", Book.book_id, descending=True)


class Books(Repository[Book]):
    table = Book
    missing = BookNotFound

    async def page(self, order: Keyset, window: Window) -> Slice[Book]:
        return await order.page(self.source, select(Book), window)


class Loans(Repository[Loan]):
    table = Loan
    missing = LoanNotFound

    async def of_reader(self, reader_id: UserId) -> int:
        return (await self.source.execute(select(func.count()).where(Loan.reader_id == reader_id))).scalar_one()


class Lendings(Repository[Lending]):
    table = Lending
    missing = LendingNotFound


async def lock_shelf(work: UnitOfWork, reader_id: UserId) -> None:
    """Hold the reader's row: of two who count at once the second must see the first one's loan."""
    await insert_if_absent(work, Shelf.__table__, {"reader_id": reader_id})
    await work.execute(select(Shelf).where(Shelf.reader_id == reader_id).with_for_update())
