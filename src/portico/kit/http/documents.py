"""The OpenAPI document: every refusal in it, spelled as the system spells."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp

from portico.kit.auth.access import Access
from portico.kit.foundation.problems import (
    BadRequest,
    Conflict,
    ContentTooLarge,
    Forbidden,
    GatewayTimeout,
    PreconditionFailed,
    Problem,
    Unauthorized,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
)
from portico.kit.http.authentication import TICKET
from portico.kit.http.conditional import conditions
from portico.kit.http.paging import page
from portico.kit.http.problems import MEDIA_TYPE, InvalidRead, ProblemRead, problem_shape
from portico.kit.http.router import Route
from portico.kit.http.rows import returns_revised_row
from portico.kit.http.schema import Case, Schema, openapi_case

_REFERENCE = "#/components/schemas/{model}"
_SECURITY_SCHEMES = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}


def _says(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


_TAG = r'^(\*|"[0-9]{1,9}(\.[0-9]{1,10})?")$'
_KEY = "^[!-~]{1,255}$"
_REQUEST_ID = _says("Finds this request in the logs; the caller's own where it sent a good one")
_ETAG = _says("The revision of the resource, for `If-Match` and `If-None-Match`")
_TICKET = {
    "name": TICKET,
    "in": "query",
    "required": False,
    "description": "A one-time ticket of `POST /auth/tickets`, where a header can't be set",
    "schema": {"type": "string", "maxLength": 128},
}
_PAGED = {
    "X-Total-Count": _says("How many there are in all", "integer"),
    "Link": _says("Where `first`, `next` and `prev` lead (RFC 8288)"),
}
_RETRY_AFTER = _says("Seconds after which a retry may succeed", "integer")
_CHALLENGE = _says("What kind of token is wanted, or what is wrong with this one (RFC 6750)")
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": _CHALLENGE},
    403: {"WWW-Authenticate": _CHALLENGE},
    429: {"Retry-After": _RETRY_AFTER},
    503: {"Retry-After": _RETRY_AFTER},
}


class Documented(FastAPI):
    """FastAPI with the document of one system's spelling and of every problem that the routes declare."""

    def __init__(self, *, case: Case, **options: Any) -> None:
        super().__init__(**options)
        self._case = case
        self._shapes: set[type[Schema]] = {ProblemRead, InvalidRead}

    def build_middleware_stack(self) -> ASGIApp:
        """The router alone: the frame catches what is raised, and the routes bring their own exit stacks."""
        return ExceptionMiddleware(self.router, handlers=self.exception_handlers)

    def remember(self, route: Route) -> None:
        """Have the shapes of what this route may refuse with in the document."""
        self._shapes.update(
            problem_shape(error) for error in (*_standing_errors(route, conditional=True), *route.errors)
        )

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


def describe(built: APIRoute, route: Route) -> None:
    """Say of an operation what FastAPI can't know: its refusals, conditions, headers, and who may call."""
    asked = set(_functions(built.dependant))
    conditional, paged = conditions in asked, page in asked
    tagged = conditional or (route.response_model is not None and returns_revised_row(route.endpoint))
    parameters = list(_parameters(route, conditional=conditional, tagged=tagged))
    summary, _, rest = built.description.partition("\n")
    built.summary = built.summary or summary.rstrip(".")
    built.description = rest.strip()
    built.responses = {**_responses(route, conditional=conditional, tagged=tagged, paged=paged), **built.responses}
    built.openapi_extra = {
        **security_of(route.access),
        **({"parameters": parameters} if parameters else {}),
        **(built.openapi_extra or {}),
    }


def _functions(dependant: Dependant) -> Iterable[Any]:
    yield dependant.call
    for inner in dependant.dependencies:
        yield from _functions(inner)


def _parameters(route: Route, *, conditional: bool, tagged: bool) -> Iterable[dict[str, Any]]:
    if tagged and route.method == "GET":
        yield _header("If-None-Match", "The entity tag that the caller has: 304 where it is this one still", _TAG)
    elif conditional and route.method != "POST":
        yield _header(
            "If-Match", "The entity tag that the caller has read; 412 if the resource has changed since", _TAG
        )
    if route.streams:
        yield dict(_TICKET)
    if route.keeps_answers:
        yield _header("Idempotency-Key", "Repeats with the same key and body have one effect and one answer", _KEY)


def _header(name: str, description: str, pattern: str) -> dict[str, Any]:
    schema = {"type": "string", "maxLength": 255, "pattern": pattern}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _responses(route: Route, *, conditional: bool, tagged: bool, paged: bool) -> dict[int | str, dict[str, Any]]:
    """What the route answers besides its own shape, by status."""
    refusals: dict[int, list[type[Problem]]] = {}
    for error in (*_standing_errors(route, conditional=conditional), *route.errors):
        refusals.setdefault(error.status, []).append(error)
    documented: dict[int | str, dict[str, Any]] = {
        status: _response(" or ".join(dict.fromkeys(error.code for error in errors)), errors)
        for status, errors in sorted(refusals.items())
    }
    success: dict[str, Any] = {"X-Request-ID": _REQUEST_ID}
    if tagged:
        success["ETag"] = _ETAG
    if paged:
        success |= _PAGED
    if tagged and route.method == "GET":
        documented[304] = {"description": "What the caller has is what there is", "headers": dict(success)}
    return {route.status_code: {"headers": success}} | documented


def security_of(access: Access) -> dict[str, Any]:
    """What the document says of who may call; nothing where everybody may."""
    if access.kind == "public":
        return {}
    return {"security": [{"bearer": []}] if access.needs_caller else [{"bearer": []}, {}]}


def _standing_errors(route: Route, *, conditional: bool) -> Iterable[type[Problem]]:
    yield from (BadRequest, Unprocessable, Problem, Unavailable, GatewayTimeout)
    if route.access.needs_caller:
        yield from (Unauthorized, Forbidden)
    if route.method != "GET":
        yield Conflict
        if conditional and route.method != "POST":  # a POST's answer has a tag, and asks for none
            yield PreconditionFailed
    if route.method in {"POST", "PUT", "PATCH"}:
        yield from (ContentTooLarge, UnsupportedMediaType)


def _response(description: str, errors: list[type[Problem]]) -> dict[str, Any]:
    names = sorted({problem_shape(error).__name__ for error in errors})
    references = [{"$ref": _REFERENCE.format(model=name)} for name in names]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    headers = {"X-Request-ID": _REQUEST_ID} | _HEADERS.get(errors[0].status, {})
    return {"description": description, "headers": headers, "content": {MEDIA_TYPE: {"schema": schema}}}
