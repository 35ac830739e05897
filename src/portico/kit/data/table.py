"""Base class and column helpers for the tables of a service."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Integer, MetaData, String, event
from sqlalchemy.orm import MappedColumn, mapped_column
from sqlalchemy.orm.attributes import flag_modified
from sqlalchemy.orm.decl_api import TypeResolve
from sqlalchemy.types import TypeEngine

from portico.kit.data.types import IdentifierNumber, IdentifierText, Instant
from portico.kit.foundation.ids import Identifier, IntegerIdentifier

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names of indexes and constraints. Otherwise each database generates its own, and migrations cannot drop them."""


def identifier(**kwargs: Any) -> MappedColumn[Any]:
    """Declare the primary key. Its value is set at construction, so events and other rows can use it before a flush."""
    return mapped_column(primary_key=True, info={"identifier": True}, **kwargs)


def revision() -> MappedColumn[Any]:
    """Declare a number that increases with every change of the row, for optimistic locking and the ETag."""
    return mapped_column(Integer, nullable=False, info={"revision": True})


class TableRules:
    """Mixin for the base class of a service's tables: `class Table(TableRules, DeclarativeBase)`."""

    metadata: ClassVar[MetaData]
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: Instant(), str: String(255)}

    def __init__(self, **values: Any) -> None:
        mapped = type(self)
        for name, kind in mapped.__dict__.get("__identifiers__", {}).items():
            values.setdefault(name, kind.new())
        for name, value in values.items():
            if not hasattr(mapped, name):
                raise TypeError(f"{mapped.__name__} has no column {name!r}")
            setattr(self, name, value)

    def apply_changes(self, changes: Mapping[str, Any]) -> bool:
        """Set the fields of `changes` that differ from the row. Return whether any did."""
        differing = {name: value for name, value in changes.items() if _differ(getattr(self, name), value)}
        for name, value in differing.items():
            # SQLAlchemy considers {"a": 1} and {"a": true} equal and would not write the change.
            flag_modified(self, name)
            setattr(self, name, value)
        return bool(differing)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if TableRules in cls.__bases__:
            cls.metadata = MetaData(naming_convention=NAMES)
            super().__init_subclass__(**kwargs)
            event.listen(cls.registry, "resolve_type_annotation", _identifier_type)  # type: ignore[attr-defined]
            return
        _declare_revision(cls)
        super().__init_subclass__(**kwargs)
        _record_identifiers(cls)


def _differ(one: Any, other: Any) -> bool:
    return bool(one != other) or (isinstance(one, dict) and repr(one) != repr(other))


def _identifier_type(resolving: TypeResolve) -> TypeEngine[Any] | None:
    kind = resolving.resolved_type
    if not isinstance(kind, type):
        return None
    if issubclass(kind, Identifier):
        return IdentifierText(kind)
    return IdentifierNumber(kind) if issubclass(kind, IntegerIdentifier) else None


def _declare_revision(table: type) -> None:
    for value in list(vars(table).values()):
        column = getattr(value, "column", None)
        if column is not None and column.info.get("revision"):
            table.__mapper_args__ = {"version_id_col": column}  # type: ignore[attr-defined]


def _record_identifiers(table: type) -> None:
    columns = getattr(table, "__table__", None)
    if columns is None:
        return
    table.__identifiers__ = {  # type: ignore[attr-defined]
        column.key: column.type.kind for column in columns.columns if column.info.get("identifier")
    }
