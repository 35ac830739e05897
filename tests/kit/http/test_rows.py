from typing import Annotated, Any

import pytest
from fastapi import Query, Request, Response
from tests.examples.loans.ids import BookId
from tests.examples.loans.models import Book
from tests.examples.loans.repository import Books
from tests.examples.loans.schemas import BookRead
from tests.kit.http.conftest import Extended

from portico.kit.data import Slice, Window
from portico.kit.http.boundary import Reads, Work
from portico.kit.http.router import Router
from portico.testing.running_service import RunningService


class TestReturnedRow:
    async def test_is_rendered_by_the_response_model(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"))

        response = await loans.anonymous.get(f"/books/{book.book_id}")

        assert response.json() == {"book_id": book.book_id, "title": "Dune", "lent_until": None}

    async def test_is_rendered_in_camel_case(self, camel_loans: RunningService) -> None:
        book = await camel_loans.given(Book(title="Dune"))

        response = await camel_loans.anonymous.get(f"/api/books/{book.book_id}")

        assert response.json() == {"bookId": book.book_id, "title": "Dune", "lentUntil": None}

    async def test_has_the_etag_of_the_committed_revision(self, loans: RunningService) -> None:
        librarian = loans.as_user("books:write")
        created = await librarian.post("/books", json={"title": "Dune"})
        path = f"/books/{created.json()['book_id']}"

        changed = await librarian.put(path, json={"title": "Solaris"})

        assert created.headers["etag"] == '"1"'
        assert changed.headers["etag"] == '"2"'
        assert (await loans.anonymous.get(path)).headers["etag"] == '"2"'

    async def test_replayed_by_its_idempotency_key_keeps_the_etag(self, loans: RunningService) -> None:
        librarian = loans.as_user("books:write")
        headers = {"idempotency-key": "k"}
        first = await librarian.post("/books", json={"title": "Dune"}, headers=headers)

        second = await librarian.post("/books", json={"title": "Dune"}, headers=headers)

        assert second.headers["etag"] == first.headers["etag"]
        assert second.json() == first.json()

    async def test_without_revision_has_no_etag(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"))

        response = await loans.as_user().post("/loans", json={"book_id": book.book_id})

        assert response.status_code == 201
        assert "etag" not in response.headers

    async def test_adds_its_related_revision_to_the_etag(
        self, embedded_extended: Extended, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Book, "related_revision", 42, raising=False)
        async with embedded_extended() as loans:
            book = await loans.given(Book(title="Dune"))

            response = await loans.anonymous.get(f"/books/{book.book_id}")

        assert response.headers["etag"] == '"1.42"'


class TestEndpointThatReturnsRows:
    router = Router(prefix="/shelf")

    @staticmethod
    @router.get("/with-request/{book_id}", response_model=BookRead)
    async def use_request(
        book_id: BookId, reads: Reads, request: Request, response: Response, length: Annotated[int, Query(ge=1)] = 3
    ) -> Book:
        response.headers["x-path"] = f"{request.url.path[:6]} {length}"
        return await Books(reads).get(book_id)

    @staticmethod
    @router.post("/own-response", response_model=BookRead)
    async def build_response(work: Work) -> Response:  # uses the boundary's transaction
        return Response(b"{}", 202)

    @staticmethod
    @router.get("/unpaged", response_model=list[BookRead])
    async def list_without_page(reads: Reads) -> Slice[Book]:
        return await Books(reads).page(Window())

    async def test_may_use_the_request_and_parameters(self, embedded_extended: Extended) -> None:
        async with embedded_extended(self.router) as loans:
            book = await loans.given(Book(title="Dune"))

            response = await loans.anonymous.get(f"/shelf/with-request/{book.book_id}?length=5")

        assert response.headers["x-path"] == "/shelf 5"

    async def test_may_return_a_response(self, embedded_extended: Extended) -> None:
        async with embedded_extended(self.router) as loans:
            response = await loans.anonymous.post("/shelf/own-response")

        assert (response.status_code, response.content) == (202, b"{}")

    async def test_needs_a_page_parameter_to_return_a_slice(self, embedded_extended: Extended) -> None:
        async with embedded_extended(self.router) as loans:
            response = await loans.anonymous.get("/shelf/unpaged")

        assert response.status_code == 500


class TestOpenApi:
    async def test_documents_the_model_and_the_etag(self, embedded_loans: RunningService) -> None:
        document = (await embedded_loans.anonymous.get("/openapi.json")).json()

        read: dict[str, Any] = document["paths"]["/books/{book_id}"]["get"]
        assert read["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/BookRead")
        assert "ETag" in read["responses"]["200"]["headers"]
        assert "304" in read["responses"]
        assert [each["name"] for each in read["parameters"]] == ["book_id", "If-Match", "If-None-Match"]

    async def test_documents_if_match_only_where_conditions_are_checked(self, embedded_loans: RunningService) -> None:
        document = (await embedded_loans.anonymous.get("/openapi.json")).json()

        headers = {
            method: [each["name"] for each in operation["parameters"] if each["in"] == "header"]
            for path, operations in document["paths"].items()
            if path.startswith("/books")
            for method, operation in operations.items()
            if "parameters" in operation
        }
        assert headers["put"] == ["If-Match", "If-None-Match"]
        assert headers["post"] == ["Idempotency-Key"]

    async def test_does_not_show_the_injected_request(self, embedded_loans: RunningService) -> None:
        document = (await embedded_loans.anonymous.get("/openapi.json")).content

        assert b"portico_request" not in document
