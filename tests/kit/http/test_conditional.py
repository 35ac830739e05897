import asyncio

import pytest
from tests.examples.loans.models import Book
from tests.kit.http.conftest import Extended

from portico.kit.foundation.problems import PreconditionFailed
from portico.kit.http.conditional import Conditional, entity_tag
from portico.testing.running_service import RunningService


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
        conditional = Conditional(None)

        conditional.tag(book, related=17)

        assert conditional.etag == '"3.17"'
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

    @pytest.mark.parametrize("sent", ['"0"', "", "1", '"1', ", ,"])
    async def test_with_another_value_returns_the_resource(self, sent: str, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))

        answer = await embedded_loans.anonymous.get(f"/books/{book.book_id}", headers={"if-none-match": sent})

        assert answer.status_code == 200


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
        conditional = Conditional(None)
        conditional.require(Book(title="Dune", revision=3))

        assert conditional.etag is None


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
