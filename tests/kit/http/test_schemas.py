import re
from typing import Annotated, Any

import orjson
import pytest
from pydantic import TypeAdapter
from tests.examples.loans.models import Book
from tests.kit.http.wire import send

from portico.kit.foundation.problems import Unprocessable
from portico.kit.http.problems import problem_document
from portico.kit.http.schema import Case, OneLine, Schema
from portico.testing.running_service import Answer, RunningService


async def add(loans: RunningService, content: bytes) -> Answer:
    return await loans.as_user("books:write").post(
        "/books", content=content, headers={"content-type": "application/json"}
    )


class TestLine:
    @pytest.mark.parametrize(
        "character", ["\n", "\r", "\t", "\v", "\f", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u2066"]
    )
    async def test_rejects_what_breaks_or_reorders_it(self, character: str, embedded_loans: RunningService) -> None:
        answer = await add(embedded_loans, orjson.dumps({"title": f"Du{character}ne"}))

        assert answer.status_code == 422
        [error] = answer.json()["errors"]
        assert (error["location"], error["type"]) == (["body", "title"], "not_one_line")
        assert f"U+{ord(character):04X}" in error["message"]

    @pytest.mark.parametrize(
        "title", ["Dune", "沙丘", "دون", "ดูน", "👩‍🚀", "x\u200by", "\u200f\u05e9\u05dc\u05d5\u05dd"]
    )
    async def test_accepts_every_script(self, title: str, embedded_loans: RunningService) -> None:
        answer = await add(embedded_loans, orjson.dumps({"title": f" {title}\n"}))

        assert (answer.status_code, answer.json()["title"]) == (201, title)

    def test_documents_what_it_accepts(self) -> None:
        schema = TypeAdapter(Annotated[str, OneLine(64)]).json_schema()

        assert (schema["type"], schema["minLength"], schema["maxLength"]) == ("string", 1, 64)
        assert re.search(schema["pattern"], "Dune")
        assert not re.search(schema["pattern"], "Du\u202ene")


class TestStrictBodies:
    @pytest.mark.parametrize(
        ("content", "location", "kind"),
        [
            (b'{"title": "Dune", "author": "?"}', ["body", "author"], "extra_forbidden"),
            (b"{}", ["body", "title"], "missing"),
            (b'{"title": 5}', ["body", "title"], "string_type"),
            (b'{"title": true}', ["body", "title"], "string_type"),
            (b'{"title": null}', ["body", "title"], "string_type"),
            (b'{"title": ["Dune"]}', ["body", "title"], "string_type"),
            (b'{"title": "  "}', ["body", "title"], "string_too_short"),
            (b'{"title": "Dune", "shelf_marks": []}', ["body", "shelf_marks"], "dict_type"),
        ],
    )
    async def test_errors_have_location_and_message(
        self, content: bytes, location: list[str], kind: str, embedded_loans: RunningService
    ) -> None:
        answer = await add(embedded_loans, content)

        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert [(error["location"], error["type"]) for error in answer.json()["errors"]] == [(location, kind)]

    @pytest.mark.parametrize("content", [b"[]", b'"Dune"', b"5", b"null", b"", b"true"])
    async def test_are_objects(self, content: bytes, embedded_loans: RunningService) -> None:
        assert (await add(embedded_loans, content)).status_code == 422

    @pytest.mark.parametrize(
        "content",
        [
            b"{",
            b'{"title": NaN}',
            b'{"title": Infinity}',
            b'{"title": 1e400}',
            b'{"title": "\\ud800"}',
            b'{"title": "\xff"}',
            b'{"title": "a\\u0000b"}',
            b'{"shelf_marks": {"a": ["\\u0000"]}, "title": "Dune"}',
            b'{"shelf_marks": {"\\u0000": 1}, "title": "Dune"}',
            b'\xef\xbb\xbf{"title": "Dune"}',
            b'{"title": "Dune"} {}',
            b"[" * 100_000,
            b'{"shelf_marks":' * 5_000 + b"{}" + b"}" * 5_000,
        ],
    )
    async def test_are_strict_json(self, content: bytes, loans: RunningService) -> None:
        answer = await add(loans, content)

        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")

    @pytest.mark.parametrize("title", ["Ü", "🐉" * 255, "\\", "'; DROP TABLE books; --", "\u200f", "a\u0301", "1e9"])
    async def test_keep_text_unchanged(self, title: str, loans: RunningService) -> None:
        answer = await loans.as_user("books:write").post("/books", json={"title": title})

        assert answer.json()["title"] == title
        assert (await loans.anonymous.get(f"/books/{answer.json()['book_id']}")).json()["title"] == title

    async def test_errors_do_not_repeat_the_value(self, embedded_loans: RunningService) -> None:
        answer = await add(embedded_loans, b'{"title": {"password": "hunter2"}}')

        assert b"hunter2" not in answer.content

    async def test_report_at_most_a_hundred_errors(self, embedded_loans: RunningService) -> None:
        members = ",".join(f'"m{number}": 1' for number in range(5000))

        answer = await add(embedded_loans, b'{"title": "Dune", ' + members.encode() + b"}")

        assert len(answer.json()["errors"]) == 100


class TestQueries:
    @pytest.mark.parametrize(
        ("query", "kind"),
        [
            ("titel=Dune", "extra_forbidden"),
            ("limit=1&limit=2", "repeated"),
            ("sort_by=size", "literal_error"),
            ("sort_by=", "literal_error"),
        ],
    )
    async def test_must_be_known_and_unique(self, query: str, kind: str, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.get(f"/books?{query}")

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["type"] == kind
        assert answer.json()["errors"][0]["location"] == ["query", query.partition("=")[0]]

    async def test_contain_no_nul(self, embedded_loans: RunningService) -> None:
        assert (await embedded_loans.anonymous.get("/books?cursor=a%00b")).status_code == 400

    async def test_violating_a_rule_are_located(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.get("/books?cursor=nonsense")

        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")
        assert answer.json()["errors"] == [
            {"location": ["query", "cursor"], "message": answer.json()["detail"], "type": "invalid_cursor"}
        ]

    async def test_in_invalid_encodings_do_no_harm(self, embedded_loans: RunningService) -> None:
        answer = await send(embedded_loans, "GET", "/books", query="cursor=%ff%fe&%ff=1")

        assert answer.status_code == 422

    async def test_in_the_path_contain_no_nul(self, embedded_loans: RunningService) -> None:
        assert (await embedded_loans.anonymous.get("/books/%00")).status_code == 400

    async def test_ids_of_another_kind_are_not_found(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.get("/books/loan_00000000000000000000000000")

        assert (answer.status_code, answer.json()["code"]) == (404, "book_not_found")
        assert answer.json()["book_id"] == "loan_00000000000000000000000000"


class TestCase:
    async def test_of_output_is_the_systems(self, camel_loans: RunningService) -> None:
        book = await camel_loans.given(Book(title="Dune"))

        assert (await camel_loans.anonymous.get(f"/api/books/{book.book_id}")).json() == {
            "bookId": book.book_id,
            "title": "Dune",
            "lentUntil": None,
        }

    @pytest.mark.parametrize("name", ["shelf_marks", "shelfMarks"])
    async def test_of_input_can_be_either(
        self, name: str, camel_loans: RunningService, embedded_loans: RunningService
    ) -> None:
        marks = {"free_form": 1, "freeForm": 2}
        camel = {"title": "Dune", name: marks}
        snake = {"title": "Solaris", name: marks}

        assert (await camel_loans.as_user("books:write").post("/api/books", json=camel)).status_code == 201
        assert (await embedded_loans.as_user("books:write").post("/books", json=snake)).status_code == 201

    @pytest.mark.parametrize("name", ["page_size", "pageSize"])
    async def test_of_query_parameters_can_be_either(self, name: str, camel_loans: RunningService) -> None:
        assert (await camel_loans.anonymous.get(f"/api/books/greeting?{name}=7")).json()["page_size"] == 7

    async def test_of_query_parameters_is_snake_in_a_snake_system(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.get("/books/greeting?pageSize=7")

        assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "extra_forbidden")

    async def test_a_parameter_in_both_cases_is_repeated(self, camel_loans: RunningService) -> None:
        answer = await camel_loans.anonymous.get("/api/books/greeting?page_size=7&pageSize=8")

        assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "repeated")

    @pytest.mark.parametrize("name", ["shelf_marks", "shelfMarks"])
    async def test_of_an_error_location_is_the_callers(self, name: str, camel_loans: RunningService) -> None:
        answer = await camel_loans.as_user("books:write").post("/api/books", json={"title": "Dune", name: 5})

        assert answer.json()["errors"][0]["location"] == ["body", name]

    async def test_of_a_missing_field_is_the_systems(
        self, camel_loans: RunningService, embedded_loans: RunningService
    ) -> None:
        camel = await camel_loans.as_user().post("/api/loans", json={})
        snake = await embedded_loans.as_user().post("/loans", json={})

        assert camel.json()["errors"][0]["location"] == ["body", "bookId"]
        assert snake.json()["errors"][0]["location"] == ["body", "book_id"]

    async def test_of_problems_is_the_systems(self, camel_loans: RunningService) -> None:
        answer = await camel_loans.anonymous.get("/api/books/book_00000000000000000000000000")

        assert answer.json() == {
            "type": "urn:portico:problem:book_not_found",
            "title": "Book not found",
            "status": 404,
            "detail": "There is no book book_00000000000000000000000000.",
            "instance": "/api/books/book_00000000000000000000000000",
            "code": "book_not_found",
            "requestId": answer.headers["x-request-id"],
            "bookId": "book_00000000000000000000000000",
        }

    @pytest.mark.parametrize(("case", "name"), [("camel", "bookIds"), ("snake", "book_ids")])
    def test_of_a_rule_violation_is_the_systems(self, case: Case, name: str) -> None:
        class ShelfFull(Unprocessable):
            code = "shelf_full"
            detail = "The shelf holds {most}."
            location = ("body", "book_ids")

            most: int

        response_for = problem_document(ShelfFull(most=3), instance="/shelves", request_id="r", case=case)

        assert response_for["errors"] == [
            {"location": ["body", name], "message": "The shelf holds 3.", "type": "shelf_full"}
        ]

    def test_of_attributes_is_snake(self) -> None:
        class Shelf(Schema):
            book_count: int

        made: Any = Shelf.model_validate({"bookCount": 3})
        assert made.model_dump() == {"book_count": 3}
