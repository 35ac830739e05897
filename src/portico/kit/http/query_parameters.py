"""Query parameters: accept both cases in a camel-case system, reject unknown and repeated ones.

FastAPI ignores unknown parameters and takes the last of repeated ones, so a misspelt filter would have no effect.
"""

from collections.abc import Iterable
from types import UnionType
from typing import Union, get_args, get_origin

from fastapi.exceptions import RequestValidationError
from pydantic import AliasChoices
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from starlette.datastructures import QueryParams

from portico.kit._compat.fastapi import Dependant, query_fields
from portico.kit.foundation.problems import BadRequest
from portico.kit.http.schema import Case

_SEQUENCES = (list, set, tuple, frozenset)


class Queries:
    """The query parameters that a route accepts: those of its endpoint, or any if a model allows extra fields.

    Args:
        dependant: FastAPI's description of the route. In a camel-case system this changes it to accept both cases.
        case: case of the system's JSON.
        also: an additional parameter, which the kit reads.
    """

    def __init__(self, dependant: Dependant, case: Case, *, also: str | None = None) -> None:
        if case == "camel":
            _spell_both_ways(dependant)
        self._known: dict[str, str] = {}
        self._repeatable: set[str] = set()
        self._accepts_any = any(_allows_extra(field) for _, field in query_fields(dependant))
        if also is not None:
            self._known[also] = also
        for name, field in _fields(dependant):
            alias = field.alias or name
            spellings = (name, alias, to_camel(name)) if case == "camel" else (name, alias)
            self._known.update(dict.fromkeys(spellings, name))
            if any(isinstance(kind, type) and issubclass(kind, _SEQUENCES) for kind in _kinds(field)):
                self._repeatable.add(name)

    def check(self, raw: bytes, sent: QueryParams) -> None:
        """Check the parameters.

        Raises:
            BadRequest: the query contains NUL.
            RequestValidationError: a parameter is unknown or repeated.
        """
        if b"%00" in raw or b"\0" in raw:
            raise BadRequest(reason="the query must not contain the character U+0000")
        if self._accepts_any:
            return
        seen: set[str] = set()
        for spelled, _ in sent.multi_items():
            name = self._known.get(spelled)
            if name is None:
                raise _fault(spelled, "Unknown query parameter", "extra_forbidden")
            if name in seen and name not in self._repeatable:
                raise _fault(spelled, "This query parameter was sent twice", "repeated")
            seen.add(name)


def _fault(name: str, message: str, kind: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("query", name), "msg": message, "type": kind}])


def _fields(dependant: Dependant) -> Iterable[tuple[str, FieldInfo]]:
    for name, field in query_fields(dependant):
        members = getattr(field.annotation, "model_fields", None)
        yield from [(name, field)] if members is None else members.items()


def _allows_extra(field: FieldInfo) -> bool:
    """Return whether a parameter is a model with `extra="allow"`, which takes any parameter."""
    return getattr(field.annotation, "model_config", {}).get("extra") == "allow"


def _kinds(field: FieldInfo) -> Iterable[object]:
    """Return the possible types of a parameter: list and None for `list[str] | None`."""
    annotation = field.annotation
    members = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    for member in members:
        yield get_origin(member) or member


def _spell_both_ways(dependant: Dependant) -> None:
    for name, field in query_fields(dependant):
        camel = to_camel(name)
        # If the alias differs, another app of this service has already changed it.
        if camel != name and field.validation_alias in (None, name):
            field.validation_alias = AliasChoices(camel, name)
