import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from portico.kit.messaging.event import Event
from portico.kit.messaging.schemas import ContractBroken, FrozenSchemas, event_classes, schema_of


class TeaServed(Event, type="tea.served", version=1, aggregate="table"):
    """Tea is on the table."""

    table: str
    cups: int


class TeaServedWithSugar(Event, type="tea.served", version=1, aggregate="table"):
    """Tea is on the table."""

    table: str
    cups: int
    sugar: bool = False


class TeaServedByPot(Event, type="tea.served", version=1, aggregate="table"):
    """Tea is on the table."""

    table: str
    pots: int


class TestSchemaOf:
    def test_describes_the_serialized_event(self) -> None:
        schema = schema_of(TeaServed)

        assert schema["x-event"] == {"type": "tea.served", "version": 1, "aggregate": "table"}
        assert (schema["required"], schema["description"]) == (["table", "cups"], "Tea is on the table.")
        assert "x-read" not in schema


class TestFreezing:
    def test_a_new_schema_is_written(self, tmp_path: Path) -> None:
        frozen = FrozenSchemas(tmp_path / "schemas")

        assert frozen.freeze([TeaServed]) == ["tea.served.1.json"]
        assert orjson.loads((tmp_path / "schemas" / "tea.served.1.json").read_bytes()) == schema_of(TeaServed)
        assert not frozen.drift([TeaServed])

    def test_a_grown_schema_is_rewritten(self, tmp_path: Path) -> None:
        frozen = FrozenSchemas(tmp_path)
        frozen.freeze([TeaServed])

        assert frozen.drift([TeaServedWithSugar]).grown == ["tea.served.1.json"]
        assert frozen.freeze([TeaServedWithSugar]) == ["tea.served.1.json"]
        assert frozen.freeze([TeaServedWithSugar]) == []

    def test_a_breaking_change_is_rejected_and_nothing_is_written(self, tmp_path: Path) -> None:
        class CakeServed(Event, type="cake.served", version=1, aggregate="table"):
            table: str

        frozen = FrozenSchemas(tmp_path)
        frozen.freeze([TeaServed])

        with pytest.raises(ContractBroken) as refused:
            frozen.freeze([CakeServed, TeaServedByPot])

        assert sorted(refused.value.changes) == [
            "tea.served.1.json: cups is removed, but existing readers use it",
            "tea.served.1.json: pots is added without a default, but stored events do not have it",
        ]
        assert [path.name for path in tmp_path.iterdir()] == ["tea.served.1.json"]

    def test_a_schema_without_a_class_is_reported(self, tmp_path: Path) -> None:
        frozen = FrozenSchemas(tmp_path)
        frozen.freeze([TeaServed])

        assert frozen.drift([]).broken == ["tea.served.1.json: no class reads it any more"]


DECLARATION = """
from portico.kit.messaging.event import Event

class {name}(Event, type="tea.served", version={version}, aggregate="table"):
    table: str
"""


class TestEventClasses:
    @pytest.fixture
    def package(self, tmp_path: Path) -> Iterator[Path]:
        folder = tmp_path / "teahouse_contracts"
        (folder / "kitchen").mkdir(parents=True)
        for each in (folder, folder / "kitchen"):
            (each / "__init__.py").write_text("")
        (folder / "tea.py").write_text(DECLARATION.format(name="TeaServed", version=1))
        sys.path.insert(0, str(tmp_path))
        importlib.invalidate_caches()
        yield folder
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.startswith(folder.name)]:
            del sys.modules[name]

    def test_are_found_in_their_module(self, package: Path) -> None:
        (package / "other.py").write_text("from teahouse_contracts.tea import TeaServed\n")
        (package / "kitchen" / "tea.py").write_text(DECLARATION.format(name="TeaServedToo", version=2))

        assert [kind.__name__ for kind in event_classes(package.name)] == ["TeaServed", "TeaServedToo"]

    def test_two_classes_of_one_type_and_version_are_rejected(self, package: Path) -> None:
        (package / "kitchen" / "tea.py").write_text(DECLARATION.format(name="OtherTea", version=1))

        with pytest.raises(TypeError, match="both version 1"):
            event_classes(package.name)
