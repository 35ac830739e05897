from datetime import UTC, datetime, timedelta

import pytest
from tests.examples.loans.errors import BookNotFound, LoanNotFound
from tests.examples.loans.ids import BookId, LoanId
from tests.examples.loans.models import Book, Loan
from tests.examples.loans.repository import BY_TITLE, Books, Loans

from portico.kit import Principal, UserId, Window
from portico.kit.data.repository import OpenedForReading
from portico.testing.running_service import RunningService

ANNA, BEN = UserId.new(), UserId.new()


def reader(user_id: UserId) -> Principal:
    now = datetime.now(UTC)
    return Principal(user_id, "user", frozenset(), (), "token", None, issued_at=now, expires_at=now)


async def a_loan(loans: RunningService, reader_id: UserId) -> Loan:
    due_at = loans.clock.now() + timedelta(days=14)
    return await loans.given(Loan(book_id=BookId.new(), reader_id=reader_id, due_at=due_at))


class TestReading:
    async def test_find_returns_the_row_or_none(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"))

        async with loans.context.reader() as reads:
            found = await Books(reads).find(book.book_id)
            missing = await Books(reads).find(BookId.new())

        assert found is not None
        assert (found.title, missing) == ("Dune", None)

    async def test_get_raises_the_declared_error_with_the_key(self, loans: RunningService) -> None:
        missing = BookId.new()

        async with loans.context.reader() as reads:
            with pytest.raises(BookNotFound) as error:
                await Books(reads).get(missing)

        assert error.value.book_id == missing

    async def test_get_visible_hides_the_rows_of_others(self, loans: RunningService) -> None:
        loan = await a_loan(loans, ANNA)

        async with loans.context.reader() as reads:
            assert (await Loans(reads).get_visible(loan.loan_id, reader(ANNA))).loan_id == loan.loan_id
            for key in (loan.loan_id, LoanId.new()):
                with pytest.raises(LoanNotFound):
                    await Loans(reads).get_visible(key, reader(BEN))

    async def test_page_has_the_default_order_unless_another_is_given(self, loans: RunningService) -> None:
        for title in ("Solaris", "Ubik", "Dune"):
            await loans.given(Book(title=title))

        async with loans.context.reader() as reads:
            newest = await Books(reads).page(Window())
            by_title = await Books(reads).page(Window(), order=BY_TITLE)

        assert [book.title for book in newest.rows] == ["Dune", "Ubik", "Solaris"]
        assert [book.title for book in by_title.rows] == ["Dune", "Solaris", "Ubik"]

    async def test_page_applies_conditions_and_ignores_none(self, loans: RunningService) -> None:
        for title in ("Solaris", "Dune"):
            await loans.given(Book(title=title))

        async with loans.context.reader() as reads:
            page = await Books(reads).page(Window(), None, Book.title == "Dune")

        assert ([book.title for book in page.rows], page.total) == (["Dune"], 1)

    async def test_page_visible_contains_only_visible_rows(self, loans: RunningService) -> None:
        mine = await a_loan(loans, ANNA)
        await a_loan(loans, BEN)

        async with loans.context.reader() as reads:
            page = await Loans(reads).page_visible(Window(), reader(ANNA))

        assert [loan.loan_id for loan in page.rows] == [mine.loan_id]


class TestWriting:
    async def test_add_writes_the_row_at_the_commit(self, loans: RunningService) -> None:
        async with loans.context.transaction() as work:
            book = Books(work).add(Book(title="Dune"))

        async with loans.context.reader() as reads:
            assert (await Books(reads).get(book.book_id)).title == "Dune"

    async def test_a_locked_row_can_be_changed(self, loans: RunningService) -> None:
        loan = await a_loan(loans, ANNA)
        later = loan.due_at + timedelta(days=7)

        async with loans.context.transaction() as work:
            (await Loans(work).get_visible(loan.loan_id, reader(ANNA), lock=True)).due_at = later

        async with loans.context.reader() as reads:
            assert (await Loans(reads).get(loan.loan_id)).due_at == later

    async def test_a_repository_opened_for_reading_neither_locks_nor_writes(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"))

        async with loans.context.reader() as reads:
            with pytest.raises(OpenedForReading):
                await Books(reads).get(book.book_id, lock=True)
            with pytest.raises(OpenedForReading):
                Books(reads).add(Book(title="Solaris"))

    async def test_insert_all_writes_new_rows_with_their_first_revision(self, loans: RunningService) -> None:
        rows = [Book(title=title, lent_until=None) for title in ("Dune", "Solaris", "Ubik")]

        async with loans.context.transaction() as work:
            await Books(work).insert_all(rows)
            await Books(work).insert_all([])

        async with loans.context.reader() as reads:
            found = [await Books(reads).get(row.book_id) for row in rows]
        assert [(row.title, row.revision) for row in found] == [("Dune", 1), ("Solaris", 1), ("Ubik", 1)]
