"""Merge the OpenAPI documents of services into one (OpenAPI 3.1)."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from portico.kit.http.documents import SUPPLEMENTARY

Document = Mapping[str, Any]
IsRouted = Callable[[str, str, str], bool]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
REFERENCE = "#/components/"


def merge_documents(info: Document, documents: Mapping[str, Document], is_routed: IsRouted) -> dict[str, Any]:
    """Merge the documents of the services. Tags and paths have the order of the services; supplementary tags are last.

    Args:
        info: The `info` object of the merged document.
        documents: The documents by service name.
        is_routed: Given service, method and path: whether the gateway routes the operation. Others are left out.
    """
    merged_components: dict[str, dict[str, Any]] = {}
    paths: dict[str, Any] = {}
    tags: dict[str, Any] = {}
    operation_ids: set[str] = set()
    for service, document in documents.items():
        selected = _routed_paths(service, document, is_routed)
        components = _referenced_components(document.get("components", {}), selected)
        names = _names(service, components, merged_components)
        for section, parts in components.items():
            target = merged_components.setdefault(section, {})
            for name, part in parts.items():
                merged_name = names[section, name]
                target[merged_name] = _titled(_renamed(part, names), name, merged_name)
        for path, item in selected.items():
            paths.setdefault(path, {}).update(_operations(service, _renamed(item, names), operation_ids))
        tags.update({tag["name"]: tag for tag in document.get("tags", ())})
    used = {tag for item in paths.values() for tag in _tags(item)}
    listed = sorted((tag for tag in tags.values() if tag["name"] in used), key=lambda tag: SUPPLEMENTARY in tag)
    ranks = {tag["name"]: rank for rank, tag in enumerate(listed)}

    def rank_of(path: str) -> tuple[int, str]:
        return min((ranks.get(tag, len(ranks)) for tag in _tags(paths[path])), default=len(ranks)), path

    ordered = {path: paths[path] for path in sorted(paths, key=rank_of)}
    merged: dict[str, Any] = {"openapi": "3.1.0", "info": dict(info), "paths": ordered}
    if merged_components:
        merged["components"] = merged_components
    if listed:
        merged["tags"] = listed
    return merged


def _tags(item: Document) -> list[str]:
    return [tag for key, operation in item.items() if key in METHODS for tag in operation.get("tags", ())]


def _routed_paths(service: str, document: Document, is_routed: IsRouted) -> dict[str, dict[str, Any]]:
    selected: dict[str, dict[str, Any]] = {}
    for path, item in document.get("paths", {}).items():
        operations = {
            key: value for key, value in item.items() if key not in METHODS or is_routed(service, key.upper(), path)
        }
        if any(key in METHODS for key in operations):
            selected[path] = operations
    return selected


def _operations(service: str, item: dict[str, Any], operation_ids: set[str]) -> dict[str, Any]:
    for key, operation in item.items():
        if key in METHODS and (name := operation.get("operationId")) is not None:
            operation["operationId"] = name if name not in operation_ids else f"{service}_{name}"
            operation_ids.add(operation["operationId"])
    return item


def _referenced_components(components: Document, paths: Document) -> dict[str, dict[str, Any]]:
    """Return the components that `paths` refers to, directly or indirectly, and all security schemes."""
    wanted = set(_references(paths))
    pending = list(wanted)
    while pending:
        section, name = pending.pop()
        for found in _references(components.get(section, {}).get(name, {})):
            if found not in wanted:
                wanted.add(found)
                pending.append(found)
    return {
        section: {
            name: part for name, part in parts.items() if section == "securitySchemes" or (section, name) in wanted
        }
        for section, parts in components.items()
    }


Key = tuple[str, str]


def _names(
    service: str, components: Mapping[str, dict[str, Any]], merged_components: Mapping[str, Any]
) -> dict[Key, str]:
    """Return the merged name of each component: its own, or a prefixed one if another component has that name."""
    clashing = {
        (section, name)
        for section, parts in components.items()
        for name, part in parts.items()
        if name in merged_components.get(section, {}) and merged_components[section][name] != part
    }
    # Equal components that refer to different components differ too.
    while more := {
        (section, name)
        for section, parts in components.items()
        for name, part in parts.items()
        if (section, name) not in clashing
        and name in merged_components.get(section, {})
        and any(found in clashing for found in _references(part))
    }:
        clashing |= more
    return {
        (section, name): _unused_name(service, name, merged_components.get(section, {}))
        if (section, name) in clashing
        else name
        for section, parts in components.items()
        for name in parts
    }


def _unused_name(service: str, name: str, used: Collection[str]) -> str:
    prefix = "".join(part.capitalize() for part in service.replace("-", "_").split("_"))
    candidate, number = f"{prefix}{name}", 2
    while candidate in used:
        candidate, number = f"{prefix}{name}{number}", number + 1
    return candidate


def _references(node: Any) -> list[Key]:
    """Return all components to which a part of a document refers."""
    found: list[Key] = []
    pending = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, str) and (key := _key(item)) is not None:
            found.append(key)
    return found


def _renamed(node: Any, names: Mapping[Key, str]) -> Any:
    """Return a copy with references to the new names."""
    if isinstance(node, Mapping):
        return {key: _renamed(value, names) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(item, names) for item in node]
    if isinstance(node, str) and (key := _key(node)) is not None and key in names:
        return f"{REFERENCE}{key[0]}/{names[key]}"
    return node


def _titled(part: Any, name: str, merged_name: str) -> Any:
    """Return a schema with its new name as title, because client generators name a class after the title."""
    return {**part, "title": merged_name} if merged_name != name and part.get("title") == name else part


def _key(reference: str) -> Key | None:
    if not reference.startswith(REFERENCE):
        return None
    section, _, name = reference.removeprefix(REFERENCE).partition("/")
    return section, name
