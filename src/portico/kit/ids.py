"""Identifiers: opaque, prefixed by kind, sortable by time, the same under every collation."""

import re
import secrets
import time
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's, in lower case: sorts alike under every collation
_LENGTH = 26
_CHANCE_BITS = 74
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]  # two letters at a time: half the work
_SHIFTS = range(5 * (_LENGTH - 2), -1, -10)
MAX_LENGTH = 48


def _sortable() -> str:
    number = ((time.time_ns() // 1000) << _CHANCE_BITS) | secrets.randbits(_CHANCE_BITS)
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


class Identifier(str):
    """A kind of identifier: `class BookId(Identifier, prefix="book")`, values such as `book_01hv…`.

    The first half is the time of making in microseconds, so that ids sort by age; 74 bits are chance, so that they
    can't be guessed. Validates itself in schemas, documents its pattern and binds to `String` columns.
    """

    __slots__ = ()

    prefix: ClassVar[str]
    pattern: ClassVar[re.Pattern[str]]

    def __init_subclass__(cls, *, prefix: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.prefix = prefix
        cls.pattern = re.compile(rf"^{prefix}_[0-9a-hjkmnp-tv-z]{{{_LENGTH}}}$")

    @classmethod
    def new(cls) -> Self:
        """A fresh one."""
        return cls(f"{cls.prefix}_{_sortable()}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`text` as this kind of identifier. Raises ValueError where it is none."""
        if cls.pattern.match(text) is None or text.endswith("\n"):
            raise ValueError(f"not an identifier of the form {cls.prefix}_…")
        return cls(text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(pattern=cls.pattern.pattern, strict=True)
        return core_schema.no_info_after_validator_function(cls, text)
