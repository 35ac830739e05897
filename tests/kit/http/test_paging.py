import json
import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select
from tests.examples.loans.ids import BookId
from tests.examples.loans.models import Book, Loan
from tests.kit.http.conftest import Extended

from portico.kit.auth.principal import UserId
from portico.kit.data.paging import InvalidCursor, Keyset, Slice, Window, count_rows, slice_of_list
from portico.kit.data.totals import COUNT_LIMIT, REMEMBERED_FOR
from portico.kit.http.paging import page_headers
from portico.testing.running_service import Answer, RunningService


def links(answer: Answer) -> dict[str, str]:
    assert answer.status_code == 200, answer.content
    return {found[2]: found[1] for found in re.finditer(r'<([^>]*)>; rel="(\w+)"', answer.headers["link"])}


async def shelve(loans: RunningService, count: int) -> list[str]:
    """Create `count` books and return their titles in order."""
    books = [Book(title=f"title {number:03}") for number in range(count)]
    async with loans.context.transaction() as work:
        work.add_all(books)
    return [book.title for book in books]


async def fill(loans: RunningService, count: int) -> None:
    """Create `count` books by one statement."""
    now = datetime.now(UTC)
    rows = [
        {"book_id": BookId.new(), "title": f"title {each}", "revision": 1, "created_at": now, "updated_at": now}
        for each in range(count)
    ]
    async with loans.context.transaction() as work:
        await work.execute(insert(Book), rows)


def cursor(*parts: Any) -> str:
    return urlsafe_b64encode(orjson.dumps(list(parts))).rstrip(b"=").decode()


class TestLinks:
    async def test_following_next_visits_every_row_once_in_order(self, loans: RunningService) -> None:
        titles, path, seen, pages = await shelve(loans, 25), "/books?sort_by=title&limit=7", [], 0
        while path:
            answer = await loans.anonymous.get(path)
            seen += [book["title"] for book in answer.json()]
            pages += 1
            path = links(answer).get("next", "")

        assert seen == titles
        assert pages == 4

    async def test_following_prev_shows_the_same_pages(self, loans: RunningService) -> None:
        await shelve(loans, 25)
        path, forth, back = "/books?sort_by=title&limit=7", [], []
        while path:
            answer = await loans.anonymous.get(path)
            forth.append(answer.json())
            last, path = answer, links(answer).get("next", "")
        path = links(last)["prev"]
        while path:
            answer = await loans.anonymous.get(path)
            back.append(answer.json())
            path = links(answer).get("prev", "")

        assert back == forth[-2::-1]

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        count=st.integers(0, 23),
        limits=st.lists(st.integers(1, 9), min_size=1),
        order=st.sampled_from(["title", "newest"]),
    )
    async def test_visit_every_row_once_with_any_limits(
        self, embedded_extended: Extended, count: int, limits: list[int], order: str
    ) -> None:
        async with embedded_extended() as loans:
            async with loans.context.transaction() as work:
                await work.execute(delete(Book))
            await shelve(loans, count)
            async with loans.context.reader() as reader:
                column = Book.title if order == "title" else Book.book_id.desc()
                titles = [book.title for book in await reader.all(select(Book).order_by(column))]
            seen, turn = [], 0
            path = f"/books?sort_by={order}&limit={limits[0]}"
            while path:
                answer = await loans.anonymous.get(path)
                expected = str(count) if turn == 0 else None
                assert answer.headers.get("x-total-count") == expected
                seen += [book["title"] for book in answer.json()]
                turn += 1
                path = re.sub(r"limit=\d+", f"limit={limits[turn % len(limits)]}", links(answer).get("next", ""))

        assert seen == titles

    async def test_continue_after_rows_were_added_and_deleted(self, loans: RunningService) -> None:
        await shelve(loans, 10)
        first = await loans.anonymous.get("/books?sort_by=title&limit=5")
        async with loans.context.transaction() as work:
            await work.execute(delete(Book).where(Book.title.in_(["title 004", "title 005"])))
        await loans.given(Book(title="title 000 bis"))

        second = await loans.anonymous.get(links(first)["next"])

        assert [book["title"] for book in second.json()] == ["title 006", "title 007", "title 008", "title 009"]

    async def test_a_page_beyond_the_end_is_empty(self, loans: RunningService) -> None:
        await shelve(loans, 3)

        answer = await loans.anonymous.get("/books?skip=100")

        assert (answer.json(), answer.headers["x-total-count"]) == ([], "3")
        assert set(links(answer)) == {"first", "prev"}


class TestTotal:
    async def test_is_exact_up_to_the_limit_of_counting(self, loans: RunningService) -> None:
        await fill(loans, COUNT_LIMIT)

        answer = await loans.anonymous.get("/books?limit=1")

        assert answer.headers["x-total-count"] == str(COUNT_LIMIT)
        assert "x-total-count-at-least" not in answer.headers

    async def test_is_a_lower_bound_beyond_it(self, loans: RunningService) -> None:
        await fill(loans, COUNT_LIMIT + 5)

        for query in ("limit=1", f"limit=10&skip={COUNT_LIMIT}"):
            answer = await loans.anonymous.get(f"/books?{query}")

            assert answer.headers["x-total-count-at-least"] == str(COUNT_LIMIT)
            assert "x-total-count" not in answer.headers

    async def test_counts_no_row_behind_the_limit(self, loans: RunningService) -> None:
        await fill(loans, COUNT_LIMIT + 5)
        async with loans.context.reader() as reader:
            assert await count_rows(reader, select(Book), Window()) == COUNT_LIMIT + 1
            assert await count_rows(reader, select(Book), Window(counts_all=True)) == COUNT_LIMIT + 5

    async def test_of_a_long_list_is_not_counted_again_for_some_seconds(self, loans: RunningService) -> None:
        await fill(loans, COUNT_LIMIT + 5)
        first = await loans.anonymous.get("/books?limit=2")
        async with loans.context.transaction() as work:
            await work.execute(delete(Book).where(Book.title.not_in([f"title {each}" for each in range(3)])))

        soon = await loans.anonymous.get("/books?limit=1&sort_by=title")
        loans.clock.advance(REMEMBERED_FOR)
        later = await loans.anonymous.get("/books?limit=1")

        assert first.headers["x-total-count-at-least"] == str(COUNT_LIMIT)
        assert soon.headers["x-total-count-at-least"] == str(COUNT_LIMIT)
        assert later.headers["x-total-count"] == "3"

    async def test_of_another_list_does_not_count_for_this_one(self, loans: RunningService) -> None:
        await fill(loans, COUNT_LIMIT + 5)
        async with loans.context.reader() as reader:
            for title, expected in [("title 9", 1_111), ("title", COUNT_LIMIT + 1), ("title 8", 1_111)]:
                statement = select(Book).where(Book.title.startswith(title, autoescape=True))

                assert (await Keyset.by("age", Book.book_id).page(reader, statement, Window(limit=1))).total == expected

    async def test_is_exact_if_all_are_counted_whatever_is_known(self, loans: RunningService) -> None:
        await fill(loans, COUNT_LIMIT + 5)
        order = Keyset.by("age", Book.book_id)
        async with loans.context.reader() as reader:
            await order.page(reader, select(Book), Window(limit=1))
            for _ in range(2):
                found = await order.page(reader, select(Book), Window(limit=1, counts_all=True))

                assert found.total == COUNT_LIMIT + 5

    async def test_is_absent_behind_a_cursor(self, loans: RunningService) -> None:
        await shelve(loans, 5)
        first = await loans.anonymous.get("/books?limit=2")

        second = await loans.anonymous.get(links(first)["next"])

        assert len(second.json()) == 2
        assert not {"x-total-count", "x-total-count-at-least"} & set(second.headers)


class TestBounds:
    @pytest.mark.parametrize(
        "query",
        [
            "skip=-1",
            "limit=0",
            "limit=-1",
            "limit=1001",
            "skip=99999999999999999999",
            "limit=1.5",
            "limit=ten",
            "skip=",
        ],
    )
    async def test_are_enforced(self, query: str, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.get(f"/books?{query}")

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["location"] == ["query", query.partition("=")[0]]

    async def test_the_largest_page_is_a_thousand(self, loans: RunningService) -> None:
        assert (await loans.anonymous.get("/books?limit=1000&skip=2147483647")).status_code == 200

    async def test_a_list_has_a_hundred_by_default(self, embedded_loans: RunningService) -> None:
        await shelve(embedded_loans, 101)

        assert len((await embedded_loans.anonymous.get("/books")).json()) == 100


class TestForeignCursors:
    @pytest.mark.parametrize(
        "sent",
        [
            "x",
            "!!!",
            "é",
            "AAAA",
            cursor("newest", 0, "book_0"),
            cursor("title", 0, "Dune"),
            cursor("title", 0, "Dune", "book", "more"),
            cursor("title", 2, "Dune", "book"),
            cursor("title", 0, 5, "book"),
            cursor("title", 0, None, "book"),
            cursor("title", 0, ["Dune"], "book"),
            cursor("title", 0, {"a": "b"}, "book"),
            cursor("title", 0, True, "book"),
            cursor("title", 0, "nul\0", "book"),
            cursor("title"),
            cursor(),
            urlsafe_b64encode(b'{"title": 1}').decode(),
            urlsafe_b64encode(b"5").decode(),
            urlsafe_b64encode(b"[" * 700).decode(),
        ],
    )
    async def test_are_rejected(self, sent: str, loans: RunningService) -> None:
        answer = await loans.anonymous.get("/books", params={"sort_by": "title", "cursor": sent})

        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")

    async def test_of_another_order_are_rejected(self, loans: RunningService) -> None:
        await shelve(loans, 3)
        newest = await loans.anonymous.get("/books?limit=1")

        answer = await loans.anonymous.get(links(newest)["next"] + "&sort_by=title")

        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")

    async def test_that_are_too_long_are_rejected(self, embedded_loans: RunningService) -> None:
        assert (await embedded_loans.anonymous.get("/books?cursor=" + "a" * 1025)).status_code == 422


class TestColumns:
    """A cursor's values come from the caller. Each must have its column's type, or the database would raise an
    error.
    """

    BY_TIME = Keyset.by("due", Loan.due_at, Loan.loan_id)
    BY_REVISION = Keyset.by("revision", Book.revision, Book.book_id)

    async def _page(self, loans: RunningService, order: Keyset, table: Any, sent: str | None) -> Slice[Any]:
        async with loans.context.reader() as reader:
            return await order.page(reader, select(table), Window(limit=2, cursor=sent))

    async def test_of_times_can_be_paged(self, loans: RunningService) -> None:
        start = loans.clock.now()
        rows = [
            Loan(book_id=BookId.new(), reader_id=UserId.new(), due_at=start + timedelta(microseconds=n))
            for n in range(5)
        ]
        await loans.given(*rows)

        seen, sent = [], None
        while True:
            found = await self._page(loans, self.BY_TIME, Loan, sent)
            seen += [loan.loan_id for loan in found.rows]
            sent = found.next
            if sent is None:
                break

        assert seen == [loan.loan_id for loan in rows]

    async def test_of_numbers_can_be_paged(self, loans: RunningService) -> None:
        await shelve(loans, 3)
        first = await self._page(loans, self.BY_REVISION, Book, None)

        assert len((await self._page(loans, self.BY_REVISION, Book, first.next)).rows) == 1

    @pytest.mark.parametrize(
        "value", ["yesterday", 5, None, [], {}, "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", "1", True]
    )
    async def test_of_times_reject_other_values(self, value: Any, loans: RunningService) -> None:
        with pytest.raises(InvalidCursor):
            await self._page(loans, self.BY_TIME, Loan, cursor("due", 0, value, "loan_0"))

    @pytest.mark.parametrize("value", ["1", 1.5, None, [], True, 2**31, -(2**31), 2**63, 10**30])
    async def test_of_numbers_reject_other_values(self, value: Any, loans: RunningService) -> None:
        sent = urlsafe_b64encode(json.dumps(["revision", 0, value, "book_0"]).encode()).decode()

        with pytest.raises(InvalidCursor):
            await self._page(loans, self.BY_REVISION, Book, sent)


class TestPageHeaders:
    def test_keep_the_filters_and_drop_the_position(self) -> None:
        found = Slice([1], 9, next="n", previous="p")

        headers = page_headers(found, Window(cursor="c"), "/books", "sort_by=title&limit=1&cursor=c&skip=5")

        assert headers == {
            "x-total-count": "9",
            "link": (
                '</books?sort_by=title&limit=1>; rel="first", </books?sort_by=title&limit=1&cursor=n>; rel="next",'
                ' </books?sort_by=title&limit=1&cursor=p>; rel="prev"'
            ),
        }

    def test_quote_what_the_caller_sent(self) -> None:
        headers = page_headers(Slice([], 0), Window(), "/books", 'search=">\r\nset-cookie: a')

        assert "\r" not in headers["link"]
        assert headers["link"].count(">") == 1


class TestSliceOfList:
    def page(self, rows: list[str], **wanted: Any) -> Slice[str]:
        return slice_of_list(rows, Window(limit=2, **wanted), name="letters", key=str)

    def test_walks_forward_and_back_while_rows_are_added(self) -> None:
        first = self.page(list("abcde"))
        second = self.page(list("xabcdef"), cursor=first.next)
        third = self.page(list("xabcdef"), cursor=second.next)
        back = self.page(list("xabcdef"), cursor=second.previous)

        assert [each.rows for each in (first, second, third, back)] == [["a", "b"], ["c", "d"], ["e", "f"], ["a", "b"]]
        assert (first.total, first.previous, third.next) == (5, None, None)

    def test_skips_to_a_page(self) -> None:
        assert self.page(list("abcde"), skip=4) == Slice(["e"], 5)
        assert self.page(list("abcde"), skip=6) == Slice([], 5)

    def test_rejects_cursors_of_other_lists_and_of_rows_that_are_gone(self) -> None:
        cursor = self.page(list("abcde")).next
        other = slice_of_list(list("abcde"), Window(limit=2), name="names", key=str).next

        for rows, wrong in ((list("acde"), cursor), (list("abcde"), other), (list("abcde"), "nonsense")):
            with pytest.raises(InvalidCursor):
                self.page(rows, cursor=wrong)
