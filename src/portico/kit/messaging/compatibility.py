"""Compatibility of event schemas: contracts only grow.

Old code reads new events, because services are not all replaced at once. New code reads old events, because they wait
in queues and stay in event logs. Therefore an existing field must accept exactly the values that it accepted before,
and a new field needs a default.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

READ = "x-read"
"""Schema keyword for the schema that readers accept, if it differs from the schema that is written."""
_OF_EVENT = "x-event"

_ANNOTATIONS = {"$schema", "$defs", "title", "description", "default", "examples", "deprecated", READ, _OF_EVENT}
_COMPARED_ELSEWHERE = {
    "$ref",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "anyOf",
    "oneOf",
    "enum",
    "const",
}
_LOGGED = "stored events"
_BEFORE = "existing readers"


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Return the changes in `new` that break readers or stored events of `old`, one sentence for each.

    Args:
        old: the frozen JSON schema of an event.
        new: its new JSON schema.
    """
    found = [] if old.get(_OF_EVENT) == new.get(_OF_EVENT) else [_identity(old, new)]
    found += _Comparison(old, new).found()
    found += _Comparison(old.get(READ, old), new.get(READ, new)).found()
    return list(dict.fromkeys(found))


def _identity(old: Schema, new: Schema) -> str:
    return f"the event was {_as_json(old.get(_OF_EVENT))} and is now {_as_json(new.get(_OF_EVENT))}"


class _Comparison:
    def __init__(self, old: Schema, new: Schema) -> None:
        self._old, self._new = _Resolver(old), _Resolver(new)
        self._compared: set[tuple[str, str]] = set()

    def found(self) -> list[str]:
        return list(self._compare("", self._old.whole, self._new.whole))

    def _compare(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        if "$ref" in old and "$ref" in new:
            pair = (old["$ref"], new["$ref"])
            if pair in self._compared:
                return  # the schema is recursive
            self._compared.add(pair)
        old, new = self._old.resolved(old), self._new.resolved(new)
        if _is_union(old) or _is_union(new):
            yield from self._members(path, _members(old), _members(new))
            return
        if old.get("type") != new.get("type"):
            yield _changed(path, "type", old.get("type"), new.get("type"))
            return
        yield from self._fields(path, old, new)
        yield from self._other_fields(
            path, old.get("additionalProperties", True), new.get("additionalProperties", True)
        )
        yield from _values(path, old, new)
        if isinstance(old.get("items"), Mapping) and isinstance(new.get("items"), Mapping):
            yield from self._compare(f"{path}[]", old["items"], new["items"])
        elif old.get("items") != new.get("items"):
            yield _changed(path, "items", old.get("items"), new.get("items"))
        for keyword in sorted((old.keys() | new.keys()) - _ANNOTATIONS - _COMPARED_ELSEWHERE):
            if self._old.plain(old.get(keyword)) != self._new.plain(new.get(keyword)):
                yield _changed(path, keyword, old.get(keyword), new.get(keyword))

    def _fields(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        needed_before, needed = set(old.get("required", ())), set(new.get("required", ()))
        for name in before.keys() | now.keys():
            where = f"{path}.{name}" if path else name
            if name not in now:
                yield f"{where} is removed, but {_BEFORE} use it"
            elif name not in before:
                if name in needed:
                    yield f"{where} is added without a default, but {_LOGGED} do not have it"
                elif old.get("additionalProperties") is False:
                    yield f"{where} is added, but {_BEFORE} reject unknown fields"
            else:
                if name in needed - needed_before:
                    yield f"{where} has lost its default, but {_LOGGED} may not have it"
                yield from self._compare(where, before[name], now[name])

    def _other_fields(self, path: str, old: Any, new: Any) -> Iterator[str]:
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from self._compare(f"{path}.*", old, new)
        elif old != new:
            yield _changed(path, "additionalProperties", old, new)

    def _members(self, path: str, old: Sequence[Schema], new: Sequence[Schema]) -> Iterator[str]:
        before = {self._old.text(each): each for each in old}
        now = {self._new.text(each): each for each in new}
        gone = {key: before[key] for key in before.keys() - now.keys()}
        come = {key: now[key] for key in now.keys() - before.keys()}
        for key, member in list(gone.items()):
            same = [
                other
                for other, each in come.items()
                if _reference_name(each) is not None and _reference_name(each) == _reference_name(member)
            ]
            if same:
                yield from self._compare(path, gone.pop(key), come.pop(same[0]))
        for key in sorted(gone):
            yield f"{path} no longer accepts {key}, but {_LOGGED} may have it"
        for key in sorted(come):
            yield f"{path} also accepts {key}, but {_BEFORE} do not"


class _Resolver:
    """A schema with its references resolved."""

    def __init__(self, schema: Schema) -> None:
        self.whole = schema
        self._definitions: Schema = schema.get("$defs", {})

    def resolved(self, schema: Schema) -> Schema:
        reference = schema.get("$ref")
        if reference is None:
            return schema
        target = self.resolved(self._definitions[_name(reference)])
        return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}

    def plain(self, value: Any, within: frozenset[str] = frozenset()) -> Any:
        """Return `value` without annotations. Its references are resolved, except recursive ones."""
        if isinstance(value, list | tuple):
            return [self.plain(each, within) for each in value]
        if not isinstance(value, Mapping):
            return value
        reference = value.get("$ref")
        if reference is not None:
            if reference in within:
                return {"$ref": reference}
            return self.plain(self._definitions[_name(reference)], within | {reference})
        return {key: self._plain_keyword(key, each, within) for key, each in value.items() if key not in _ANNOTATIONS}

    def _plain_keyword(self, keyword: str, value: Any, within: frozenset[str]) -> Any:
        if keyword == "properties":  # its keys are field names, not keywords
            return {name: self.plain(each, within) for name, each in value.items()}
        return self.plain(value, within)

    def text(self, schema: Schema) -> str:
        return _as_json(self.plain(schema))


def _is_union(schema: Schema) -> bool:
    return "anyOf" in schema or "oneOf" in schema


def _members(schema: Schema) -> Sequence[Schema]:
    members: Sequence[Schema] = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return members


def _reference_name(schema: Schema) -> str | None:
    """Return the name that identifies a member of a union, or None."""
    name = schema.get("$ref")
    return None if name is None else _name(name)


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _values(path: str, old: Schema, new: Schema) -> Iterator[str]:
    before, now = _allowed(old), _allowed(new)
    if before is None and now is not None:
        yield f"{path} is limited to {', '.join(sorted(now))}, but {_LOGGED} may have other values"
    elif before is not None and now is None:
        yield f"{path} is no longer limited to {', '.join(sorted(before))}, but {_BEFORE} reject other values"
    elif before is not None and now is not None:
        for value in sorted(before - now):
            yield f"{path} can no longer be {value}, but {_LOGGED} may have it"
        for value in sorted(now - before):
            yield f"{path} can also be {value}, but {_BEFORE} do not know it"


def _allowed(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {_as_json(schema["const"])}
    return {_as_json(value) for value in schema["enum"]} if "enum" in schema else None


def _changed(path: str, keyword: str, old: Any, new: Any) -> str:
    where = f"{path}: {keyword}" if path else keyword
    if old is None:
        return f"{where} {_as_json(new)} is added, but {_LOGGED} may not satisfy it"
    if new is None:
        return f"{where} {_as_json(old)} is removed, but {_BEFORE} reject values that do not satisfy it"
    return f"{where} was {_as_json(old)} and is now {_as_json(new)}, but {_BEFORE} and {_LOGGED} follow the old one"


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
