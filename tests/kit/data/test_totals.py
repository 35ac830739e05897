from typing import Any

import pytest
from sqlalchemy import Select, select
from tests.examples.loans.models import Book

from portico.kit._compat.sqlalchemy import statement_key
from portico.kit.data.totals import REMEMBERED_FOR, LongLists


def titled(*titles: str) -> Select[Any]:
    return select(Book).where(Book.title.in_(titles))


class TestStatementKey:
    def test_is_the_same_for_statements_that_are_built_alike(self) -> None:
        assert statement_key(titled("Dune", "Solaris")) == statement_key(titled("Dune", "Solaris"))

    @pytest.mark.parametrize(
        "other",
        [
            titled("Dune"),
            titled("Dune", "Ubik"),
            select(Book),
            select(Book).where(Book.title.not_in(["Dune", "Solaris"])),
        ],
    )
    def test_differs_if_a_value_or_a_condition_does(self, other: Select[Any]) -> None:
        assert statement_key(titled("Dune", "Solaris")) != statement_key(other)

    def test_is_none_for_a_value_that_cannot_be_compared(self) -> None:
        assert statement_key(select(Book).where(Book.title == bytearray(b"Dune"))) is None


class TestLongLists:
    def test_forget_a_list_after_some_seconds(self) -> None:
        lists = LongLists()
        lists.add("books", 100.0)

        assert lists.has("books", 100.0 + REMEMBERED_FOR - 0.1)
        assert not lists.has("books", 100.0 + REMEMBERED_FOR)
        assert not lists.has("loans", 100.0)

    def test_remember_the_last_count_of_a_list(self) -> None:
        lists = LongLists()
        for now in (100.0, 109.0):
            lists.add("books", now)

        assert lists.has("books", 109.0 + REMEMBERED_FOR - 0.1)

    def test_forget_the_oldest_when_there_are_many(self) -> None:
        lists = LongLists()
        lists.add("books", 0.0)
        for number in range(5_000):
            lists.add(number, 1.0)

        assert len(lists) == 1_000
        assert not lists.has("books", 1.0)
        assert lists.has(4_999, 1.0)
