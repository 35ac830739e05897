import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from tests.examples.loans.ids import BookId, LoanId


class TestIdentifier:
    def test_new_ones_differ_and_say_their_kind(self) -> None:
        made = {BookId.new() for _ in range(1000)}

        assert len(made) == 1000
        assert all(re.fullmatch("book_[0-9a-hjkmnp-tv-z]{26}", each) for each in made)

    def test_later_ones_sort_behind(self) -> None:
        made = [BookId.new() for _ in range(200)]
        moments = [each[: len("book_") + 10] for each in made]  # the rest is chance

        assert moments == sorted(moments)

    def test_what_is_read_is_of_its_kind(self) -> None:
        book_id = BookId.new()

        assert type(BookId.parse(str(book_id))) is BookId
        assert type(TypeAdapter(BookId).validate_python(str(book_id))) is BookId

    @given(st.text())
    def test_other_text_is_none(self, text: str) -> None:
        with pytest.raises(ValueError, match="book_"):
            BookId.parse(text)

    @pytest.mark.parametrize(
        "change", [str.upper, lambda text: text + "\n", lambda text: text[:-1], lambda text: " " + text]
    )
    def test_one_that_was_changed_is_none(self, change: Any) -> None:
        changed = change(str(BookId.new()))

        with pytest.raises(ValueError, match="book_"):
            BookId.parse(changed)
        with pytest.raises(ValidationError):
            TypeAdapter(BookId).validate_python(changed)

    def test_of_another_kind_is_none(self) -> None:
        with pytest.raises(ValueError, match="book_"):
            BookId.parse(LoanId.new())

    def test_its_pattern_is_documented(self) -> None:
        assert TypeAdapter(BookId).json_schema()["pattern"].startswith("^book_")
