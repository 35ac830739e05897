from typing import Any

import pytest
from sqlalchemy import inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm.attributes import set_committed_value

from portico.kit.data import Payload
from portico.kit.data.table import TableRules


class Table(TableRules, DeclarativeBase):
    pass


class Note(Table):
    __tablename__ = "notes"

    number: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    labels: Mapped[dict[str, Any]] = mapped_column(Payload)


def stored_note() -> Note:
    """Return a note without changes to write."""
    note = Note()
    for name, value in {"number": 1, "title": "Lamp", "labels": {"a": 1}}.items():
        set_committed_value(note, name, value)
    return note


def fields_to_write(note: Note) -> set[str]:
    return {each.key for each in inspect(note).attrs if each.history.has_changes()}


class TestApplyChanges:
    def test_sets_the_fields_that_differ(self) -> None:
        note = stored_note()

        assert note.apply_changes({"title": "Desk lamp", "labels": {"a": 1}})

        assert note.title == "Desk lamp"
        assert fields_to_write(note) == {"title"}

    def test_equal_values_change_nothing(self) -> None:
        note = stored_note()

        assert not note.apply_changes({"title": "Lamp", "labels": {"a": 1}})

        assert fields_to_write(note) == set()

    def test_a_json_value_of_another_type_differs(self) -> None:
        note = stored_note()

        assert note.apply_changes({"labels": {"a": True}})

        assert repr(note.labels) == "{'a': True}"

    def test_an_unknown_field_is_an_error(self) -> None:
        with pytest.raises(AttributeError):
            stored_note().apply_changes({"colour": "red"})
