"""The OpenAPI document: every refusal in it, spelled as the system spells."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from portico.kit.auth.access import Access
from portico.kit.http.problems import MEDIA_TYPE, InvalidRead, ProblemRead, problem_shape
from portico.kit.http.router import Route
from portico.kit.http.schema import Case, Schema, openapi_case
from portico.kit.problems import (
    BadRequest,
    ContentTooLarge,
    Forbidden,
    Problem,
    Unauthorized,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
)

_REFERENCE = "#/components/schemas/{model}"
_SECURITY_SCHEMES = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}


class Documented(FastAPI):
    """FastAPI with the document of one system's spelling and of every problem that the routes declare."""

    def __init__(self, *, case: Case, **options: Any) -> None:
        super().__init__(**options)
        self._case = case
        self._shapes: set[type[Schema]] = {ProblemRead, InvalidRead}

    def remember(self, route: Route) -> None:
        """Have the shapes of what this route may refuse with in the document."""
        self._shapes.update(problem_shape(error) for error in (*_standing_errors(route), *route.errors))

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            token = openapi_case.set(self._case)
            try:
                document = super().openapi()
                schemas = document.setdefault("components", {}).setdefault("schemas", {})
                schemas.update(self._problem_schemas())
                document["components"]["securitySchemes"] = _SECURITY_SCHEMES
            finally:
                openapi_case.reset(token)
        return self.openapi_schema or {}

    def _problem_schemas(self) -> dict[str, Any]:
        shapes = sorted(self._shapes, key=lambda shape: shape.__name__)
        _, document = models_json_schema([(shape, "serialization") for shape in shapes], ref_template=_REFERENCE)
        schemas: dict[str, Any] = document["$defs"]
        return schemas


def responses_of(route: Route) -> dict[int | str, dict[str, Any]]:
    """What the route may refuse with, by status."""
    refusals: dict[int, list[type[Problem]]] = {}
    for error in (*_standing_errors(route), *route.errors):
        refusals.setdefault(error.status, []).append(error)
    documented: dict[int | str, dict[str, Any]] = {
        status: _response(" or ".join(dict.fromkeys(error.code for error in errors)), errors)
        for status, errors in sorted(refusals.items())
    }
    documented["default"] = _response("Any other refusal", [Problem])
    return documented


def security_of(access: Access) -> dict[str, Any]:
    """What the document says of who may call; nothing where everybody may."""
    if access.kind == "public":
        return {}
    return {"security": [{"bearer": []}] if access.needs_caller else [{"bearer": []}, {}]}


def _standing_errors(route: Route) -> Iterable[type[Problem]]:
    yield from (BadRequest, Unprocessable, Unavailable)
    if route.access.needs_caller:
        yield from (Unauthorized, Forbidden)
    if route.method in {"POST", "PUT", "PATCH"}:
        yield from (ContentTooLarge, UnsupportedMediaType)


def _response(description: str, errors: list[type[Problem]]) -> dict[str, Any]:
    names = sorted({problem_shape(error).__name__ for error in errors})
    references = [{"$ref": _REFERENCE.format(model=name)} for name in names]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}
