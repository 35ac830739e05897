"""Column types with the same meaning on SQLite, PostgreSQL and MySQL/MariaDB."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, String, Text, TypeDecorator
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

from portico.kit.foundation.ids import MAX_LENGTH, Identifier, IntegerIdentifier

_MYSQL = ("mysql", "mariadb")


class Instant(TypeDecorator[datetime]):
    """A moment in UTC with microseconds. A value without a time zone raises ValueError."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in _MYSQL:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))  # plain DATETIME has no microseconds
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the time has no time zone")
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # SQLAlchemy's signature
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class ExactText(TypeDecorator[str]):
    """Short text compared byte by byte on every database: identifiers, codes, keys.

    With MariaDB's default collation 'A' and 'a' are equal, also in unique indexes.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int = MAX_LENGTH) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in _MYSQL:
            return dialect.type_descriptor(mysql.VARCHAR(self.length, charset="utf8mb4", collation="utf8mb4_bin"))
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.VARCHAR(self.length, collation="C"))
        return dialect.type_descriptor(String(self.length))


class IdentifierText(TypeDecorator[Identifier]):
    """An identifier of one kind. Values read from the database have this kind."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[Identifier] = Identifier) -> None:
        super().__init__(MAX_LENGTH)
        self.kind = kind

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in _MYSQL:
            return dialect.type_descriptor(mysql.VARCHAR(MAX_LENGTH, charset="ascii", collation="ascii_bin"))
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.VARCHAR(MAX_LENGTH, collation="C"))
        return dialect.type_descriptor(String(MAX_LENGTH))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        return None if value is None else str(value)  # C drivers require exactly str

    def process_result_value(self, value: str | None, dialect: Dialect) -> Identifier | None:  # noqa: ARG002  # SQLAlchemy's signature
        return None if value is None else self.kind(value)


class IdentifierNumber(TypeDecorator[IntegerIdentifier]):
    """An integer identifier of one kind. Values read from the database have this kind."""

    impl = BigInteger
    cache_ok = True

    def __init__(self, kind: type[IntegerIdentifier] = IntegerIdentifier) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002  # SQLAlchemy's signature
        return None if value is None else int(value)  # C drivers require exactly int

    def process_result_value(self, value: int | None, dialect: Dialect) -> IntegerIdentifier | None:  # noqa: ARG002  # SQLAlchemy's signature
        return None if value is None else self.kind(value)


LongText = Text().with_variant(mysql.MEDIUMTEXT(), *_MYSQL)
"""Text of any length. MySQL's TEXT is limited to 64 KiB."""

Payload = JSON().with_variant(postgresql.JSONB(), "postgresql")
"""A JSON document."""

Sequence = BigInteger().with_variant(Integer, "sqlite")
"""Autoincrementing primary key. SQLite requires INTEGER."""
