"""Handlers that look for the query parameters that were sent, and leave the others to their defaults.

FastAPI spends about 15 µs on each parameter that an endpoint declares, whether it was sent or not; a list with ten
filters of which one was sent would spend most of its time so.
"""

import inspect
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_MOST_SETS = 256
_NOTHING: frozenset[str] = frozenset()
_NEVER_CHANGE = (type(None), bool, int, float, str, bytes, tuple, frozenset)


class SparseHandlers:
    """The handler for each set of query parameters that is sent, made when it is first asked for.

    Args:
        dependant: what FastAPI found in the endpoint's signature.
        make: makes a handler of a dependant.
    """

    def __init__(self, dependant: Dependant, make: Callable[[Dependant], Handler]) -> None:
        self._dependant = dependant
        self._make = make
        self._whole = make(dependant)
        self._known = frozenset(_spellings(dependant))
        self._sparse: dict[frozenset[str], Handler] = {}

    def for_request(self, request: Request) -> Handler:
        """The handler that looks for what `request` sends."""
        sent = self._known.intersection(request.query_params) if request.scope["query_string"] else _NOTHING
        handler = self._sparse.get(sent)
        if handler is None:
            if len(self._sparse) == _MOST_SETS:
                return self._whole
            handler = self._sparse[sent] = self._make(_only(self._dependant, sent))
        return handler


def _only(dependant: Dependant, sent: frozenset[str]) -> Dependant:
    """`dependant` without the query parameters that are not in `sent` and that the function's own defaults stand for."""
    return replace(
        dependant,
        query_params=[
            each for each in dependant.query_params if _is_sent(each, sent) or not _falls_back(each, dependant)
        ],
        dependencies=[_only(inner, sent) for inner in dependant.dependencies],
    )


def _spellings(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        yield from (field.alias, field.name, to_camel(field.name))
    for inner in dependant.dependencies:
        yield from _spellings(inner)


def _is_sent(field: ModelField, sent: frozenset[str]) -> bool:
    return not sent.isdisjoint((field.alias, field.name, to_camel(field.name)))


def _falls_back(field: ModelField, dependant: Dependant) -> bool:
    if dependant.call is None or field.field_info.default_factory is not None:
        return False
    parameter = inspect.signature(dependant.call).parameters.get(field.name)
    default = inspect.Parameter.empty if parameter is None else parameter.default
    return default is field.field_info.default and isinstance(default, _NEVER_CHANGE)
