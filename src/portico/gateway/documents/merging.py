"""Many OpenAPI documents made one (OpenAPI 3.1)."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

Document = Mapping[str, Any]
Routed = Callable[[str, str, str], bool]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
REFERENCE = "#/components/"


def merge(info: Document, documents: Mapping[str, Document], routed: Routed) -> dict[str, Any]:
    """The document of a system.

    Args:
        info: Its `info` object.
        documents: Each service's document, by the service's name.
        routed: Whether the gateway forwards a method and a path to a service; what it does not is left out.
    """
    taken: dict[str, dict[str, Any]] = {}
    paths: dict[str, Any] = {}
    tags: dict[str, Any] = {}
    operation_ids: set[str] = set()
    for service, document in documents.items():
        kept = _routed_paths(service, document, routed)
        components = _used(document.get("components", {}), kept)
        names = _names(service, components, taken)
        for section, parts in components.items():
            target = taken.setdefault(section, {})
            target.update({names[section, name]: _renamed(part, names) for name, part in parts.items()})
        for path, item in kept.items():
            paths.setdefault(path, {}).update(_operations(service, _renamed(item, names), operation_ids))
        tags.update({tag["name"]: tag for tag in document.get("tags", ())})
    merged: dict[str, Any] = {"openapi": "3.1.0", "info": dict(info), "paths": dict(sorted(paths.items()))}
    if taken:
        merged["components"] = taken
    if tags:
        merged["tags"] = list(tags.values())
    return merged


def _routed_paths(service: str, document: Document, routed: Routed) -> dict[str, dict[str, Any]]:
    kept: dict[str, dict[str, Any]] = {}
    for path, item in document.get("paths", {}).items():
        operations = {
            key: value for key, value in item.items() if key not in METHODS or routed(service, key.upper(), path)
        }
        if any(key in METHODS for key in operations):
            kept[path] = operations
    return kept


def _operations(service: str, item: dict[str, Any], taken: set[str]) -> dict[str, Any]:
    for key, operation in item.items():
        if key in METHODS and (name := operation.get("operationId")) is not None:
            operation["operationId"] = name if name not in taken else f"{service}_{name}"
            taken.add(operation["operationId"])
    return item


def _used(components: Document, paths: Document) -> dict[str, dict[str, Any]]:
    """The components that what is kept refers to, directly or through others; and all security schemes."""
    wanted = set(_references(paths))
    waiting = list(wanted)
    while waiting:
        section, name = waiting.pop()
        for found in _references(components.get(section, {}).get(name, {})):
            if found not in wanted:
                wanted.add(found)
                waiting.append(found)
    return {
        section: {
            name: part for name, part in parts.items() if section == "securitySchemes" or (section, name) in wanted
        }
        for section, parts in components.items()
    }


Key = tuple[str, str]


def _names(service: str, components: Mapping[str, dict[str, Any]], taken: Mapping[str, Any]) -> dict[Key, str]:
    """What each component is called in the whole: its own name, unless another service means something else by it."""
    clashing = {
        (section, name)
        for section, parts in components.items()
        for name, part in parts.items()
        if name in taken.get(section, {}) and taken[section][name] != part
    }
    # Two that read alike and refer to different things are different too.
    while more := {
        (section, name)
        for section, parts in components.items()
        for name, part in parts.items()
        if (section, name) not in clashing
        and name in taken.get(section, {})
        and any(found in clashing for found in _references(part))
    }:
        clashing |= more
    return {
        (section, name): _free(service, name, taken.get(section, {})) if (section, name) in clashing else name
        for section, parts in components.items()
        for name in parts
    }


def _free(service: str, name: str, taken: Collection[str]) -> str:
    prefix = "".join(part.capitalize() for part in service.replace("-", "_").split("_"))
    candidate, number = f"{prefix}{name}", 2
    while candidate in taken:
        candidate, number = f"{prefix}{name}{number}", number + 1
    return candidate


def _references(node: Any) -> list[Key]:
    """Every component that a part of a document refers to."""
    found: list[Key] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, str) and (key := _key(one)) is not None:
            found.append(key)
    return found


def _renamed(node: Any, names: Mapping[Key, str]) -> Any:
    """A copy whose references go to the new names."""
    if isinstance(node, Mapping):
        return {key: _renamed(value, names) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(one, names) for one in node]
    if isinstance(node, str) and (key := _key(node)) is not None and key in names:
        return f"{REFERENCE}{key[0]}/{names[key]}"
    return node


def _key(reference: str) -> Key | None:
    if not reference.startswith(REFERENCE):
        return None
    section, _, name = reference.removeprefix(REFERENCE).partition("/")
    return section, name
