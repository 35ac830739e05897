"""Identifiers: opaque, prefixed by kind, sortable by time, equal under every collation."""

import os
import re
import time
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32 in lower case: sorts the same in every collation
_LENGTH = 26
_CHANCE_BITS = 74
_CHANCE_BYTES = 10
_SURPLUS_BITS = 8 * _CHANCE_BYTES - _CHANCE_BITS
_DRAWN_AT_ONCE = 128
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]  # two characters per step: half the work
_SHIFTS = range(5 * (_LENGTH - 2), -1, -10)
MAX_LENGTH = 48


_drawn: list[int] = []
"""Random numbers drawn in advance, because each system call can let other threads run for up to 5 ms."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)


def _chance() -> int:
    try:
        return _drawn.pop()
    except IndexError:
        drawn = os.urandom(_CHANCE_BYTES * _DRAWN_AT_ONCE)
        places = range(0, len(drawn), _CHANCE_BYTES)
        _drawn.extend(int.from_bytes(drawn[place : place + _CHANCE_BYTES]) >> _SURPLUS_BITS for place in places)
        return _drawn.pop()


def _sortable() -> str:
    number = ((time.time_ns() // 1000) << _CHANCE_BITS) | _chance()
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


class Identifier(str):
    """A kind of identifier: `class BookId(Identifier, prefix="book")`, with values such as `book_01hv…`.

    It starts with the creation time in microseconds, so that ids sort by age. 74 random bits make it unguessable. It
    validates itself in schemas, documents its pattern and binds to `String` columns.
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
        """Return a new identifier."""
        return cls(f"{cls.prefix}_{_sortable()}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return `text` as this kind of identifier. Raises ValueError if it is not valid."""
        if cls.pattern.match(text) is None or text.endswith("\n"):
            raise ValueError(f"not an identifier of the form {cls.prefix}_…")
        return cls(text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(pattern=cls.pattern.pattern, strict=True)
        return core_schema.no_info_after_validator_function(cls, text)
