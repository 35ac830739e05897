import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from tests.examples.loans.ids import BookId, LoanId

from portico.kit import IntegerIdentifier


class RoomId(IntegerIdentifier):
    pass


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


class TestIntegerIdentifier:
    def test_new_identifiers_are_unique_and_sort_by_age(self) -> None:
        made = [RoomId.new() for _ in range(10_000)]

        assert made == sorted(set(made))
        assert all(type(each) is RoomId and 1 <= each < 2**53 for each in made)

    @given(st.integers(1, 2**53 - 1))
    def test_is_read_from_a_number_in_json_and_from_text_in_a_path(self, number: int) -> None:
        adapter = TypeAdapter(RoomId)

        assert type(adapter.validate_json(str(number))) is RoomId
        assert adapter.validate_python(str(number)) == adapter.validate_json(str(number)) == number
        assert adapter.dump_json(RoomId(number)) == str(number).encode()

    @pytest.mark.parametrize(
        "text", ["", "0", "-1", "01", "+1", " 1", "1\n", "1_0", "1.0", "1e3", "\uff11", "x", str(2**53), "9" * 400]
    )
    def test_other_text_is_rejected(self, text: str) -> None:
        with pytest.raises(ValueError, match="from 1 to"):
            RoomId.parse(text)
        with pytest.raises(ValidationError):
            TypeAdapter(RoomId).validate_python(text)

    @pytest.mark.parametrize("json", ["0", "-1", "1.0", "true", "null", '"1"', str(2**53)])
    def test_other_json_is_rejected(self, json: str) -> None:
        with pytest.raises(ValidationError):
            TypeAdapter(RoomId).validate_json(json)

    def test_its_bounds_are_documented(self) -> None:
        assert TypeAdapter(RoomId).json_schema() == {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
