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
    Unprocessable,
)


class TestProblem:
    def test_fills_its_fields_into_the_detail(self) -> None:
        book_id = BookId.new()
        problem = BookNotFound(book_id=book_id)

        assert (problem.status, problem.code, problem.title) == (404, "book_not_found", "Book not found")
        assert str(problem) == problem.sentence() == f"There is no book {book_id}."
        assert problem.data() == {"book_id": book_id}
        assert isinstance(problem, NotFound)

    def test_takes_its_code_from_the_class_name(self) -> None:
        class OAuthTokenMissing2Times(Conflict):
            pass

        class Renamed(Conflict):
            code = "old_name"

        assert (OAuthTokenMissing2Times.code, Renamed.code) == ("o_auth_token_missing2_times", "old_name")

    def test_a_field_cannot_have_the_name_of_a_standard_member(self) -> None:
        with pytest.raises(TypeError, match="status"):

            class Clashing(Conflict):
                status: int  # type: ignore[misc]

    def test_requires_all_fields(self) -> None:
        with pytest.raises(TypeError):
            BookNotFound()  # type: ignore[call-arg]

    def test_the_location_of_an_invalid_value_is_not_a_field(self) -> None:
        class PageTooLarge(Unprocessable):
            location = ("query", "limit")

            limit: int

        assert Unprocessable.field_names() == ()
        assert PageTooLarge(limit=5).data() == {"limit": 5}

    def test_has_no_fields_by_default(self) -> None:
        assert Problem().data() == {}

    @pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2"), (59.01, "60")])
    def test_retry_after_is_rounded_up_to_whole_seconds(self, seconds: float, header: str) -> None:
        assert TooManyRequests(retry_after=seconds).headers["retry-after"] == header
        assert Unavailable(retry_after=seconds).headers["retry-after"] == header

    def test_authentication_errors_have_the_challenge_of_rfc_6750(self) -> None:
        assert Unauthorized().headers == {"www-authenticate": "Bearer"}
        assert 'scope="books:write"' in PermissionMissing(permission="books:write").headers["www-authenticate"]
