import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from tests.examples.loans import service
from tests.examples.loans.models import Book

from portico.kit.data import UnitOfWork
from portico.testing.databases import Databases
from portico.testing.running_service import run_service


class Deadlocked(Exception):
    """A driver's error for a deadlock."""

    sqlstate = "40P01"


def lost() -> OperationalError:
    return OperationalError("UPDATE", {}, Deadlocked())


class TestTransact:
    async def test_commits(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases) as loans:

            async def add(work: UnitOfWork) -> str:
                book = Book(title="Dune")
                work.add(book)
                return book.book_id

            book_id = await loans.context.transact(add)

            async with loans.context.reader() as reader:
                assert await reader.get(Book, book_id) is not None

    async def test_retries_conflicts(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases) as loans:
            turns = 0

            async def lose_twice(work: UnitOfWork) -> int:
                nonlocal turns
                turns += 1
                if turns < 3:
                    raise lost()
                return turns

            assert await loans.context.transact(lose_twice) == 3

    async def test_gives_up_after_the_last_attempt(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases) as loans:
            turns = 0

            async def lose(work: UnitOfWork) -> None:
                nonlocal turns
                turns += 1
                raise lost()

            with pytest.raises(OperationalError):
                await loans.context.transact(lose)
            assert turns == 5

    async def test_other_errors_are_not_retried(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases) as loans:

            async def fail(work: UnitOfWork) -> None:
                work.add(Book(title="Dune"))
                await work.flush()
                raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await loans.context.transact(fail)

            async with loans.context.reader() as reader:
                assert await reader.all(select(Book)) == []

    async def test_deadlocking_transactions_all_succeed(self, server_databases: Databases) -> None:
        async with run_service(service, server_databases) as loans:
            first, second = Book(title="One"), Book(title="Two")
            await loans.given(first, second)

            async def both(one: Book, other: Book) -> None:
                async def act(work: UnitOfWork) -> None:
                    for book in (one, other):
                        found = await work.get(Book, book.book_id, lock=True)
                        assert found is not None
                        found.title += "!"
                        await work.flush()

                await loans.context.transact(act)

            await asyncio.gather(*(both(first, second) if turn % 2 else both(second, first) for turn in range(6)))

            async with loans.context.reader() as reader:
                book = await reader.get(Book, first.book_id)
            assert book is not None
            assert book.title == "One!!!!!!"
