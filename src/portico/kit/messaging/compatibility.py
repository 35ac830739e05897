"""Whether an event's schema may become another one: contracts only grow.

Two sides read: code of before reads events of today, since not all services are replaced at once; and code of today
reads events of before, since they wait in queues and in event logs. So an existing field may neither take values that
it did not take, nor refuse values that it took, and a new field needs a default.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

READ = "x-read"
"""The keyword under which a schema holds what readers accept, where that is not what is written."""
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
_LOGGED = "events in the log"
_BEFORE = "readers of before"


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """What of `new` breaks those who know `old`, a sentence each; none where it only grew.

    Args:
        old: the JSON schema of an event, as it was.
        new: as it is to be.
    """
    found = [] if old.get(_OF_EVENT) == new.get(_OF_EVENT) else [_identity(old, new)]
    found += _Comparison(old, new).found()
    found += _Comparison(old.get(READ, old), new.get(READ, new)).found()
    return list(dict.fromkeys(found))


def _identity(old: Schema, new: Schema) -> str:
    return f"the event was {_shown(old.get(_OF_EVENT))}, is {_shown(new.get(_OF_EVENT))}"


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
                return  # what refers to itself
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
                yield f"{where} is removed: {_BEFORE} use it"
            elif name not in before:
                if name in needed:
                    yield f"{where} is added without a default: {_LOGGED} have none"
                elif old.get("additionalProperties") is False:
                    yield f"{where} is added: {_BEFORE} refuse fields that they do not know"
            else:
                if name in needed - needed_before:
                    yield f"{where} has lost its default: {_LOGGED} may have none"
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
                other for other, each in come.items() if _called(each) is not None and _called(each) == _called(member)
            ]
            if same:
                yield from self._compare(path, gone.pop(key), come.pop(same[0]))
        for key in sorted(gone):
            yield f"{path} no longer takes {key}: {_LOGGED} may have it"
        for key in sorted(come):
            yield f"{path} also takes {key}: {_BEFORE} do not"


class _Resolver:
    """A schema whose references are followed."""

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
        """`value` without what only explains it, its references followed as far as they do not lead back to it."""
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
        if keyword == "properties":  # its keys are names of fields, and no keywords
            return {name: self.plain(each, within) for name, each in value.items()}
        return self.plain(value, within)

    def text(self, schema: Schema) -> str:
        return _shown(self.plain(schema))


def _is_union(schema: Schema) -> bool:
    return "anyOf" in schema or "oneOf" in schema


def _members(schema: Schema) -> Sequence[Schema]:
    members: Sequence[Schema] = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return members


def _called(schema: Schema) -> str | None:
    """By what a member of a union is found again."""
    name = schema.get("$ref")
    return None if name is None else _name(name)


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _values(path: str, old: Schema, new: Schema) -> Iterator[str]:
    before, now = _allowed(old), _allowed(new)
    if before is None and now is not None:
        yield f"{path} is limited to {', '.join(sorted(now))}: {_LOGGED} may have others"
    elif before is not None and now is None:
        yield f"{path} is no longer limited to {', '.join(sorted(before))}: {_BEFORE} refuse others"
    elif before is not None and now is not None:
        for value in sorted(before - now):
            yield f"{path} can no longer be {value}: {_LOGGED} may be"
        for value in sorted(now - before):
            yield f"{path} can also be {value}: {_BEFORE} do not know it"


def _allowed(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {_shown(schema["const"])}
    return {_shown(value) for value in schema["enum"]} if "enum" in schema else None


def _changed(path: str, keyword: str, old: Any, new: Any) -> str:
    where = f"{path}: {keyword}" if path else keyword
    if old is None:
        return f"{where} {_shown(new)} is added: {_LOGGED} may not meet it"
    if new is None:
        return f"{where} {_shown(old)} is removed: {_BEFORE} refuse what does not meet it"
    return f"{where} was {_shown(old)}, is {_shown(new)}: {_BEFORE} and {_LOGGED} go by what it was"


def _shown(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
