import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from tests.examples.loans import service
from tests.examples.loans.models import Book
from tests.examples.loans.schemas import BookRead
from tests.kit.http.conftest import Extended

from portico.kit import Keyset, NumberedPage, Reads, Router, Slice, numbered_list
from portico.kit.data import Repository
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, RunningService, run_service, system_of

router = Router(prefix="/shelf", tags=["shelf"])


class BooksByTitle(Repository[Book]):
    model, order = Book, Keyset.by("title", Book.title, Book.book_id)


@router.get("", response_model=numbered_list("shelved_books", BookRead))
async def list_shelf(page: NumberedPage, reads: Reads) -> Slice[Book]:
    """List the books of the shelf by title."""
    return await BooksByTitle(reads).page(page)


async def shelve(loans: RunningService, count: int) -> list[str]:
    books = [Book(title=f"title {number:03}") for number in range(count)]
    async with loans.context.transaction() as work:
        work.add_all(books)
    return [book.title for book in books]


def links(answer: Answer) -> dict[str, str]:
    assert answer.status_code == 200, answer.content
    return {found[2]: found[1] for found in re.finditer(r'<([^>]*)>; rel="(\w+)"', answer.headers["link"])}


def titles(answer: Answer) -> list[str]:
    return [book["title"] for book in answer.json()["shelved_books"]]


class TestNumberedPage:
    async def test_shows_its_rows_and_numbers(self, extended: Extended) -> None:
        async with extended(router) as loans:
            expected = await shelve(loans, 7)

            answer = await loans.anonymous.get("/shelf?page=1&size=3")

        assert titles(answer) == expected[3:6]
        assert answer.json()["page"] == {"number": 1, "size": 3, "total_elements": 7, "total_pages": 3}
        assert "x-total-count" not in answer.headers

    async def test_is_the_first_with_twenty_rows_by_default(self, embedded_extended: Extended) -> None:
        async with embedded_extended(router) as loans:
            expected = await shelve(loans, 21)

            answer = await loans.anonymous.get("/shelf")

        assert titles(answer) == expected[:20]
        assert answer.json()["page"] == {"number": 0, "size": 20, "total_elements": 21, "total_pages": 2}

    async def test_past_the_end_is_empty_and_has_the_totals(self, extended: Extended) -> None:
        async with extended(router) as loans:
            await shelve(loans, 3)

            answer = await loans.anonymous.get("/shelf?page=21474836&size=100")

        assert titles(answer) == []
        assert answer.json()["page"]["total_elements"] == 3
        assert set(links(answer)) == {"first", "prev"}

    async def test_of_an_empty_list_has_no_pages(self, embedded_extended: Extended) -> None:
        async with embedded_extended(router) as loans:
            answer = await loans.anonymous.get("/shelf")

        assert answer.json()["page"] == {"number": 0, "size": 20, "total_elements": 0, "total_pages": 0}
        assert set(links(answer)) == {"first"}

    @pytest.mark.parametrize(
        "query", ["page=-1", "page=1.5", "page=21474837", "size=0", "size=101", "size=ten", "size=-1", "page="]
    )
    async def test_has_bounds(self, query: str, embedded_extended: Extended) -> None:
        async with embedded_extended(router) as loans:
            answer = await loans.anonymous.get(f"/shelf?{query}")

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["location"] == ["query", query.partition("=")[0]]

    async def test_is_in_the_case_of_the_system(self, sqlite_databases: Databases) -> None:
        shelves = replace(service, routers=[*service.routers, router])
        system = system_of(shelves, case="camel", prefix="/api")
        async with run_service(shelves, sqlite_databases, system=system) as loans:
            await shelve(loans, 1)

            answer = await loans.anonymous.get("/api/shelf")
            document = (await loans.anonymous.get("/openapi.json")).json()

        assert set(answer.json()) == {"shelvedBooks", "page"}
        assert set(answer.json()["page"]) == {"number", "size", "totalElements", "totalPages"}
        assert set(document["components"]["schemas"]["BookPage"]["properties"]) == {"shelvedBooks", "page"}
        headers = document["paths"]["/api/shelf"]["get"]["responses"]["200"]["headers"]
        assert set(headers) == {"X-Request-ID", "Link"}

    async def test_is_documented_in_snake_case(self, embedded_extended: Extended) -> None:
        async with embedded_extended(router) as loans:
            schemas = (await loans.anonymous.get("/openapi.json")).json()["components"]["schemas"]

        assert set(schemas["BookPage"]["properties"]) == {"shelved_books", "page"}
        assert set(schemas["PageNumbers"]["required"]) == {"number", "size", "total_elements", "total_pages"}


class TestLinks:
    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(count=st.integers(0, 23), size=st.integers(1, 9))
    async def test_visit_every_row_once_forth_and_back(
        self, embedded_extended: Extended, count: int, size: int
    ) -> None:
        async with embedded_extended(router) as loans:
            async with loans.context.transaction() as work:
                await work.execute(delete(Book))
            expected, forth, back = await shelve(loans, count), [], []
            path = f"/shelf?size={size}"
            while path:
                answer = await loans.anonymous.get(path)
                assert answer.json()["page"]["number"] == len(forth)
                forth.append(titles(answer))
                path = links(answer).get("next", "")
            path = links(answer).get("prev", "")
            while path:
                answer = await loans.anonymous.get(path)
                back.append(titles(answer))
                assert answer.json()["page"]["number"] == len(forth) - 1 - len(back)
                path = links(answer).get("prev", "")

        assert [title for page in forth for title in page] == expected
        assert back == forth[-2::-1]

    async def test_show_nothing_twice_when_rows_are_added_and_deleted(self, extended: Extended) -> None:
        async with extended(router) as loans:
            await shelve(loans, 10)
            first = await loans.anonymous.get("/shelf?size=5")
            async with loans.context.transaction() as work:
                await work.execute(delete(Book).where(Book.title == "title 002"))
                work.add(Book(title="title 000 bis"))

            second = await loans.anonymous.get(links(first)["next"])

        assert titles(second) == [f"title {number:03}" for number in range(5, 10)]


class TestSystemWithNumberedPages:
    async def test_has_them_in_lists_that_take_a_page(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases, system=system_of(service, lists="pages")) as loans:
            await shelve(loans, 3)

            answer = await loans.anonymous.get("/books?size=2&sort_by=title")
            refused = await loans.anonymous.get("/books?limit=2")
            document = (await loans.anonymous.get("/openapi.json")).json()

        assert [book["title"] for book in answer.json()["books"]] == ["title 000", "title 001"]
        assert answer.json()["page"] == {"number": 0, "size": 2, "total_elements": 3, "total_pages": 2}
        assert refused.status_code == 422
        names = {each["name"] for each in document["paths"]["/books"]["get"]["parameters"]}
        assert names == {"page", "size", "cursor", "sort_by"}
