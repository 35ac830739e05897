"""Frozen JSON schemas of events, in files beside the contracts. Tests reject breaking changes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import orjson

from portico.kit.messaging.compatibility import READ, breaking_changes
from portico.kit.messaging.event import Event

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FOLDER = "schemas"


class ContractBroken(Exception):
    """Events changed in a way that breaks existing readers or stored events. `changes` are sentences."""

    def __init__(self, changes: list[str]) -> None:
        super().__init__("; ".join(changes))
        self.changes = changes


def schema_of(kind: type[Event]) -> dict[str, Any]:
    """Return the JSON schema of an event as written. `x-read` holds what readers accept, if it differs."""
    written = kind.model_json_schema(mode="serialization")
    read = kind.model_json_schema(mode="validation")
    event = {"type": kind.event_type, "version": kind.version, "aggregate": kind.aggregate_field}
    return {"$schema": DIALECT, "x-event": event, **written, **({} if read == written else {READ: read})}


def event_classes(package: str) -> list[type[Event]]:
    """Return the event classes declared in the modules of `package`, ordered by type and version.

    Raises:
        TypeError: two classes have the same type and version.
    """
    names = [package, *(each.name for each in walk_packages(import_module(package).__path__, f"{package}."))]
    found: dict[tuple[str, int], type[Event]] = {}
    for name in names:
        for kind in vars(import_module(name)).values():
            if _is_declared_in(name, kind):
                key = kind.event_type, kind.version
                if key in found:
                    raise TypeError(f"{found[key].__name__} and {kind.__name__} are both version {key[1]} of {key[0]}")
                found[key] = kind
    return [kind for _, kind in sorted(found.items())]


def _is_declared_in(module: str, kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Event) and bool(kind.event_type) and kind.__module__ == module


@dataclass(frozen=True)
class Drift:
    """Differences between the frozen schemas and the classes: file names, and sentences for forbidden changes."""

    missing: list[str] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.grown or self.broken)


class FrozenSchemas:
    """A folder with a schema file per event: `order.created.1.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, package: str) -> "FrozenSchemas":
        """Return the schemas of `package`, in the folder beside its modules."""
        return cls(Path(str(import_module(package).__file__)).parent / _FOLDER)

    def drift(self, kinds: Iterable[type[Event]]) -> Drift:
        """Return how the files differ from `kinds`."""
        drift, frozen = Drift(), self._frozen()
        for kind in kinds:
            name, now = _file_of(kind), schema_of(kind)
            before = frozen.pop(name, None)
            if before is None:
                drift.missing.append(name)
            elif changes := breaking_changes(before, now):
                drift.broken.extend(f"{name}: {change}" for change in changes)
            elif _serialized(before) != _serialized(now):
                drift.grown.append(name)
        drift.broken.extend(f"{name}: no class reads it any more" for name in frozen)
        return drift

    def freeze(self, kinds: Iterable[type[Event]]) -> list[str]:
        """Write new and grown schemas and return their file names.

        Raises:
            ContractBroken: a change breaks readers or stored events. Nothing is written.
        """
        by_name = {_file_of(kind): kind for kind in kinds}
        drift = self.drift(by_name.values())
        if drift.broken:
            raise ContractBroken(drift.broken)
        changed = [*drift.missing, *drift.grown]
        for name in changed:
            self._folder.mkdir(exist_ok=True)
            (self._folder / name).write_bytes(_serialized(schema_of(by_name[name])))
        return changed

    def _frozen(self) -> dict[str, Mapping[str, Any]]:
        return {path.name: orjson.loads(path.read_bytes()) for path in sorted(self._folder.glob("*.json"))}


def _file_of(kind: type[Event]) -> str:
    return f"{kind.event_type}.{kind.version}.json"


def _serialized(schema: Mapping[str, Any]) -> bytes:
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
