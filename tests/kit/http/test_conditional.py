import asyncio

import orjson
import pytest
from tests.examples.loans.ids import BookId
from tests.examples.loans.models import Book
from tests.examples.loans.repository import Books
from tests.examples.loans.schemas import BookRead
from tests.kit.http.conftest import Extended

from portico.kit.calls.channel import Incoming, Outgoing
from portico.kit.foundation.problems import PreconditionFailed
from portico.kit.http.boundary import Reads, Work
from portico.kit.http.conditional import Conditional, Conditions, entity_tag
from portico.kit.http.router import Router
from portico.testing.running_service import RunningService


async def with_lines(loans: RunningService, method: str, book: Book, field: str, *values: str) -> Incoming:
    """Send a request about `book` with a header field on several lines."""
    token = loans.issuer.token(permissions=["books:write"])
    headers = [
        (b"authorization", f"Bearer {token}".encode()),
        (b"content-type", b"application/json"),
        *((field.encode(), value.encode()) for value in values),
    ]
    body = b"" if method == "GET" else orjson.dumps({"title": "Solaris"})
    out = Outgoing(
        service="loans", method=method, path=f"/books/{book.book_id}", headers=headers, body=body, timeout=60.0
    )
    return await loans.channel.send(out)


class TestEntityTags:
    async def test_change_with_the_row(self, loans: RunningService) -> None:
        librarian = loans.as_user("books:write")
        made = await librarian.post("/books", json={"title": "Dune"})
        path = f"/books/{made.json()['book_id']}"

        read = await loans.anonymous.get(path)
        changed = await librarian.put(path, json={"title": "Solaris"})
        reread = await loans.anonymous.get(path)

        assert read.headers["etag"] == made.headers["etag"]
        assert changed.headers["etag"] != read.headers["etag"]
        assert reread.headers["etag"] == changed.headers["etag"]

    async def test_stay_if_nothing_changed(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"))
        path = f"/books/{book.book_id}"
        before = await loans.anonymous.get(path)

        again = await loans.as_user("books:write").put(path, json={"title": "Dune"})

        assert again.headers["etag"] == before.headers["etag"]

    async def test_are_not_on_error_responses(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.get("/books/book_00000000000000000000000000")

        assert answer.status_code == 404
        assert "etag" not in answer.headers


class TestTagsWithRelatedData:
    def test_change_with_the_related_data(self) -> None:
        book = Book(title="Dune", revision=3)

        assert entity_tag(book, 17) == '"3.17"'
        assert entity_tag(book) == entity_tag(book, 0) == '"3"'

    @pytest.mark.parametrize("sent", ['"3.17"', '"3.99"', '"3"', '"1", "3.2"'])
    def test_require_only_the_revision(self, sent: str) -> None:
        Conditional(sent).require(Book(title="Dune", revision=3))

    @pytest.mark.parametrize("sent", ['"2.17"', 'W/"3.17"', '"3.x"', '"3."', "3.17", '"33.17"'])
    def test_reject_another_revision(self, sent: str) -> None:
        with pytest.raises(PreconditionFailed):
            Conditional(sent).require(Book(title="Dune", revision=3))


class TestIfNoneMatch:
    @pytest.mark.parametrize("sent", ["{tag}", "W/{tag}", '"other", {tag}', '"other",{tag}', "*"])
    async def test_with_the_current_tag_is_a_304(self, sent: str, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))
        path = f"/books/{book.book_id}"
        tag = (await embedded_loans.anonymous.get(path)).headers["etag"]

        answer = await embedded_loans.anonymous.get(path, headers={"if-none-match": sent.format(tag=tag)})

        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
        assert "x-request-id" in answer.headers

    @pytest.mark.parametrize("sent", ['"0"', "", "1", '"1', ", ,", '"1, "'])
    async def test_with_another_value_returns_the_resource(self, sent: str, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))

        answer = await embedded_loans.anonymous.get(f"/books/{book.book_id}", headers={"if-none-match": sent})

        assert answer.status_code == 200

    async def test_may_have_several_lines(self, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))

        answer = await with_lines(embedded_loans, "GET", book, "if-none-match", '"0"', '"1"')

        assert answer.status == 304

    @pytest.mark.parametrize("sent", ["*", '"1"', 'W/"1"', '"0", "1"', '"1.7"'])
    async def test_rejects_a_change_of_what_the_caller_has(self, sent: str, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))
        path, headers = f"/books/{book.book_id}", {"if-none-match": sent}

        answer = await embedded_loans.as_user("books:write").put(path, json={"title": "Solaris"}, headers=headers)

        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
        assert (await embedded_loans.anonymous.get(path)).json()["title"] == "Dune"

    async def test_with_another_tag_accepts_a_change(self, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))

        answer = await embedded_loans.as_user("books:write").put(
            f"/books/{book.book_id}", json={"title": "Solaris"}, headers={"if-none-match": '"7"'}
        )

        assert answer.status_code == 200

    async def test_is_evaluated_after_if_match(self, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))
        path = f"/books/{book.book_id}"

        stale = await embedded_loans.anonymous.get(path, headers={"if-match": '"7"', "if-none-match": '"1"'})
        current = await embedded_loans.anonymous.get(path, headers={"if-match": '"1"', "if-none-match": '"1"'})

        assert (stale.status_code, current.status_code) == (412, 304)

    async def test_does_not_hide_that_a_resource_is_missing(self, embedded_loans: RunningService) -> None:
        path, headers = f"/books/{BookId.new()}", {"if-none-match": "*", "if-match": '"1"'}

        read = await embedded_loans.anonymous.get(path, headers=headers)
        changed = await embedded_loans.as_user("books:write").put(path, json={"title": "Solaris"}, headers=headers)

        assert (read.status_code, changed.status_code) == (404, 404)


class TestIfMatch:
    async def test_with_the_current_revision_is_accepted(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"))
        path = f"/books/{book.book_id}"
        tag = (await loans.anonymous.get(path)).headers["etag"]

        answer = await loans.as_user("books:write").put(path, json={"title": "Solaris"}, headers={"if-match": tag})

        assert answer.status_code == 200

    @pytest.mark.parametrize("sent", ['"99"', "1", 'W/"1"', ""])
    async def test_with_another_revision_is_rejected(self, sent: str, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))
        path = f"/books/{book.book_id}"

        answer = await embedded_loans.as_user("books:write").put(
            path, json={"title": "Solaris"}, headers={"if-match": sent}
        )

        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
        assert (await embedded_loans.anonymous.get(path)).json()["title"] == "Dune"

    @pytest.mark.parametrize(
        ("sent", "status"), [('"1"', 200), ("*", 200), ('"7"', 412), ('W/"1"', 412), ('"1.7"', 412)]
    )
    async def test_is_evaluated_for_a_get(self, sent: str, status: int, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))

        answer = await embedded_loans.anonymous.get(f"/books/{book.book_id}", headers={"if-match": sent})

        assert answer.status_code == status

    async def test_may_have_several_lines(self, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))

        answer = await with_lines(embedded_loans, "PUT", book, "if-match", '"0"', '"1"')

        assert answer.status == 200

    async def test_with_a_star_accepts_any_revision(self, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))

        answer = await embedded_loans.as_user("books:write").put(
            f"/books/{book.book_id}", json={"title": "Solaris"}, headers={"if-match": "*"}
        )

        assert answer.status_code == 200

    async def test_lets_one_of_two_concurrent_editors_win(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"))
        path, librarian = f"/books/{book.book_id}", loans.as_user("books:write")
        tag = (await loans.anonymous.get(path)).headers["etag"]

        answers = await asyncio.gather(
            *(librarian.put(path, json={"title": f"title {n}"}, headers={"if-match": tag}) for n in range(10))
        )

        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9
        winner = next(answer for answer in answers if answer.status_code == 200)
        assert (await loans.anonymous.get(path)).json()["title"] == winner.json()["title"]


class TestConditional:
    def test_weak_tags_never_match_for_a_change(self) -> None:
        row = Book(title="Dune", revision=3)

        with pytest.raises(PreconditionFailed):
            Conditional(f"W/{entity_tag(row)}").require(row)

    def test_without_conditions_everything_is_accepted(self) -> None:
        Conditional().require(Book(title="Dune", revision=3))

    def test_of_a_resource_that_does_not_exist_yet(self) -> None:
        Conditional(if_none_match="*").require(None)
        with pytest.raises(PreconditionFailed):
            Conditional(if_match="*").require(None)


class TestOperationWithoutConditions:
    @pytest.mark.parametrize("field", ["if-match", "if-none-match"])
    async def test_rejects_what_it_cannot_evaluate(self, field: str, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.as_user("books:write").post(
            "/books", json={"title": "Dune"}, headers={field: '"1"'}
        )

        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_unsupported")
        assert (await embedded_loans.anonymous.get("/books")).json() == []

    async def test_that_reads_is_evaluated_by_the_boundary(self, embedded_extended: Extended) -> None:
        router = Router(prefix="/shelf")

        @router.get("/{book_id}", response_model=BookRead)
        async def read(book_id: BookId, reads: Reads, conditions: Conditions) -> Book:
            return await Books(reads).get(book_id)

        async with embedded_extended(router) as loans:
            book = await loans.given(Book(title="Dune"))
            answer = await loans.anonymous.get(f"/shelf/{book.book_id}", headers={"if-none-match": '"1"'})

        assert answer.status_code == 304

    async def test_that_forgets_to_evaluate_them_is_not_committed(self, embedded_extended: Extended) -> None:
        router = Router(prefix="/forgetful")

        @router.put("")
        async def forget(work: Work, conditions: Conditions) -> None:
            work.add(Book(title="Dune"))

        async with embedded_extended(router) as loans:
            answer = await loans.anonymous.put("/forgetful", headers={"if-match": '"1"'})

            assert (answer.status_code, answer.json()["code"]) == (412, "precondition_unsupported")
            assert (await loans.anonymous.get("/books")).json() == []


class TestHead:
    async def test_has_the_headers_of_get_and_no_body(self, embedded_extended: Extended) -> None:
        async with embedded_extended() as loans:
            book = await loans.given(Book(title="Dune"))
            got = await loans.anonymous.get(f"/books/{book.book_id}")

            head = await loans.anonymous.request("HEAD", f"/books/{book.book_id}")

            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["etag"] == got.headers["etag"]
            assert head.headers["content-length"] == got.headers["content-length"]

    async def test_without_a_get_route_is_a_405(self, embedded_loans: RunningService) -> None:
        assert (await embedded_loans.anonymous.request("HEAD", "/loans")).status_code == 405
