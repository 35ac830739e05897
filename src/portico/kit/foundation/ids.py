"""Identifiers: opaque, prefixed by kind, sortable by time, equal under every collation.

`IntegerIdentifier` is for an API whose specification requires numbers.
"""

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
_INTEGER = re.compile("[1-9][0-9]{0,15}")
_INTEGER_CHANCE_BITS = 12
_INTEGER_EPOCH = 1_735_689_600_000  # 2025-01-01; 41 bits of milliseconds last until 2094


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


class IntegerIdentifier(int):
    """A kind of identifier that is a JSON integer: `class ShowId(IntegerIdentifier)`.

    It is at least 1 and below 2^53, so that every JSON reader keeps it exactly (RFC 8259 section 6), and it fits a BIGINT.
    It starts with the creation time in milliseconds, so that ids sort by age. Those of one process are unique. Two
    processes may choose the same one within a millisecond, with a probability of 1 in 4096: the primary key refuses it.
    """

    __slots__ = ()

    largest: ClassVar[int] = 2**53 - 1
    _last: ClassVar[int] = 0

    @classmethod
    def new(cls) -> Self:
        """Return a new identifier."""
        moment = time.time_ns() // 1_000_000 - _INTEGER_EPOCH
        IntegerIdentifier._last = max(IntegerIdentifier._last + 1, moment << _INTEGER_CHANCE_BITS | _chance() & 4095)
        return cls(IntegerIdentifier._last)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return `text`, decimal digits without a leading zero, as this kind. Raises ValueError if it is not valid."""
        if _INTEGER.fullmatch(text) is None or int(text) > cls.largest:
            raise ValueError(f"not an integer from 1 to {cls.largest}")
        return cls(text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        number = core_schema.int_schema(ge=1, le=cls.largest, strict=True)
        text = core_schema.no_info_plain_validator_function(cls.parse)  # in a path or a query
        either = core_schema.lax_or_strict_schema(
            lax_schema=core_schema.union_schema([number, core_schema.chain_schema([core_schema.str_schema(), text])]),
            strict_schema=number,
        )
        json_or_python = core_schema.json_or_python_schema(json_schema=number, python_schema=either)
        return core_schema.no_info_after_validator_function(cls, json_or_python)
