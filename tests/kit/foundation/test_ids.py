import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from tests.examples.loans.ids import BookId, LoanId


class TestIdentifier:
    def test_new_identifiers_are_unique_and_prefixed(self) -> None:
        made = {BookId.new() for _ in range(1000)}

        assert len(made) == 1000
        assert all(re.fullmatch("book_[0-9a-hjkmnp-tv-z]{26}", each) for each in made)

    def test_later_identifiers_sort_after_earlier_ones(self) -> None:
        made = [BookId.new() for _ in range(200)]
        moments = [each[: len("book_") + 10] for each in made]  # the rest is random

        assert moments == sorted(moments)

    def test_parse_returns_the_kind(self) -> None:
        book_id = BookId.new()

        assert type(BookId.parse(str(book_id))) is BookId
        assert type(TypeAdapter(BookId).validate_python(str(book_id))) is BookId

    @given(st.text())
    def test_other_text_is_rejected(self, text: str) -> None:
        with pytest.raises(ValueError, match="book_"):
            BookId.parse(text)

    @pytest.mark.parametrize(
        "change", [str.upper, lambda text: text + "\n", lambda text: text[:-1], lambda text: " " + text]
    )
    def test_a_changed_identifier_is_rejected(self, change: Any) -> None:
        changed = change(str(BookId.new()))

        with pytest.raises(ValueError, match="book_"):
            BookId.parse(changed)
        with pytest.raises(ValidationError):
            TypeAdapter(BookId).validate_python(changed)

    def test_an_identifier_of_another_kind_is_rejected(self) -> None:
        with pytest.raises(ValueError, match="book_"):
            BookId.parse(LoanId.new())

    def test_its_pattern_is_documented(self) -> None:
        assert TypeAdapter(BookId).json_schema()["pattern"].startswith("^book_")
