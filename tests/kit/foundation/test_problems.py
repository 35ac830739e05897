import pytest
from tests.examples.loans.errors import BookNotFound
from tests.examples.loans.ids import BookId

from portico.kit.foundation.problems import (
    Conflict,
    NotFound,
    PermissionMissing,
    Problem,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)


class TestProblem:
    def test_says_its_sentence_with_its_data(self) -> None:
        book_id = BookId.new()
        problem = BookNotFound(book_id=book_id)

        assert (problem.status, problem.code, problem.title) == (404, "book_not_found", "Book not found")
        assert str(problem) == problem.sentence() == f"There is no book {book_id}."
        assert problem.data() == {"book_id": book_id}
        assert isinstance(problem, NotFound)

    def test_keeps_the_members_that_every_document_has(self) -> None:
        with pytest.raises(TypeError, match="status"):

            class Clashing(Conflict):
                status: int  # type: ignore[misc]

    def test_wants_all_its_data(self) -> None:
        with pytest.raises(TypeError):
            BookNotFound()  # type: ignore[call-arg]

    def test_tells_nothing_by_default(self) -> None:
        assert Problem().data() == {}

    @pytest.mark.parametrize(("seconds", "told"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2"), (59.01, "60")])
    def test_to_come_again_later_is_told_in_whole_seconds(self, seconds: float, told: str) -> None:
        assert TooManyRequests(retry_after=seconds).headers["retry-after"] == told
        assert Unavailable(retry_after=seconds).headers["retry-after"] == told

    def test_who_calls_is_asked_for_by_the_book(self) -> None:
        assert Unauthorized().headers == {"www-authenticate": "Bearer"}
        assert 'scope="books:write"' in PermissionMissing(permission="books:write").headers["www-authenticate"]
