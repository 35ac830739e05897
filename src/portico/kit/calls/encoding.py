"""Encoding of requests and decoding of responses."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from portico.kit.calls.channel import Incoming
from portico.kit.calls.errors import Refused, ResponseInvalid
from portico.kit.calls.retries import retry_after

_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))(?:[\w.~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+", re.ASCII)


def encode_query(params: Mapping[str, Any] | None) -> bytes:
    """Return parameters as a query. None values are left out, lists are repeated, times are RFC 3339."""
    pairs = [(name, _text(each)) for name, value in (params or {}).items() for each in _values(value)]
    return urlencode(pairs).encode("ascii")


def _values(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def encode_json(value: Any) -> bytes:
    """Return a model, or a structure of models and plain values, as snake_case JSON, which all services accept."""
    return to_json(value, by_alias=False)


def checked_path(path: str) -> str:
    """Return the path if it is valid (RFC 3986): quoted, without dot segments.

    Raises:
        ValueError: the path is not valid. An unquoted value in it could address another resource.
    """
    if _PATH.fullmatch(path) is None:
        raise ValueError(f"The path {path!r} is not quoted. Insert values with urllib.parse.quote(value, safe='').")
    return path


@lru_cache(maxsize=512)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def decode(service: str, answer: Incoming, kind: Any) -> Any:
    """Return the body as the contract's type, from JSON in either case.

    Raises:
        ResponseInvalid: the body does not match. The message contains locations but no values, which may be secret.
    """
    try:
        return _adapter(kind).validate_json(answer.body, by_alias=True, by_name=True)
    except ValidationError as error:
        places = {".".join(map(str, each["loc"])) or "body" for each in error.errors(include_input=False)[:5]}
        raise ResponseInvalid(
            service, f"the response does not match the contract at {', '.join(sorted(places))}"
        ) from None


def refused_error(service: str, answer: Incoming) -> Refused:
    """Return the error for a response with 4xx or 5xx."""
    try:
        problem = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        problem = {}
    return Refused(
        service, answer.status, problem if isinstance(problem, dict) else {}, retry_after=retry_after(answer)
    )
