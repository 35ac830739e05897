from sqlalchemy import ColumnElement, func, select
from tests.examples.loans.errors import BookNotFound, LendingNotFound, LoanNotFound
from tests.examples.loans.models import Book, Lending, Loan, Shelf

from portico.kit import Keyset, Principal, Repository, UnitOfWork, UserId, newest_first
from portico.kit.data import insert_if_absent

BY_TITLE = Keyset.by("title", Book.title, Book.book_id)


class Books(Repository[Book]):
    model, not_found, order = Book, BookNotFound, newest_first(Book.book_id)


class Loans(Repository[Loan]):
    model, not_found, order = Loan, LoanNotFound, newest_first(Loan.loan_id)

    def visible_to(self, caller: Principal) -> ColumnElement[bool]:
        return Loan.reader_id == caller.user_id

    async def of_reader(self, reader_id: UserId) -> int:
        return (await self.source.execute(select(func.count()).where(Loan.reader_id == reader_id))).scalar_one()


class Lendings(Repository[Lending]):
    model, not_found, order = Lending, LendingNotFound, newest_first(Lending.lending_id)


async def lock_shelf(work: UnitOfWork, reader_id: UserId) -> None:
    """Hold the reader's row: of two who count at once the second must see the first one's loan."""
    await insert_if_absent(work, Shelf.__table__, {"reader_id": reader_id})
    await work.execute(select(Shelf).where(Shelf.reader_id == reader_id).with_for_update())
