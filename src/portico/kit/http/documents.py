"""OpenAPI document of a service: contains every problem of its routes, and uses the system's case."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.json_schema import models_json_schema
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp

from portico.kit._compat.fastapi import functions_of
from portico.kit.auth.access import Access
from portico.kit.data.totals import COUNT_LIMIT
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
    UnsupportedContentEncoding,
    UnsupportedMediaType,
)
from portico.kit.http.authentication import TICKET
from portico.kit.http.conditional import PreconditionUnsupported, conditions
from portico.kit.http.examples import add_examples
from portico.kit.http.oauth_errors import OAUTH_MEDIA_TYPE, OAuthErrorRead, oauth_error_code
from portico.kit.http.paging import numbered_page, page
from portico.kit.http.problems import MEDIA_TYPE, InvalidRead, ProblemRead, problem_model
from portico.kit.http.router import Route, Router
from portico.kit.http.rows import returns_revised_row
from portico.kit.http.schema import Case, openapi_case

SUPPLEMENTARY = "x-supplementary"
"""Extension of a tag. The documentation of a system lists such tags after the resources of its services."""

_PATH_PARAMETER = re.compile(r"(?<={)[a-z0-9_]+(?=})")
_REFERENCE = "#/components/schemas/{model}"
_SECURITY_SCHEMES = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}


def _described(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


_TAG = r'^(\*|"[0-9]{1,9}(\.[0-9]{1,10})?")$'
_KEY = "^[!-~]{1,255}$"
_REQUEST_ID = _described("Identifies this request in the logs; the caller's own id if it is valid")
_ETAG = _described("Revision of the resource, for `If-Match` and `If-None-Match`")
_TICKET = {
    "name": TICKET,
    "in": "query",
    "required": False,
    "description": "One-time ticket from `POST /auth/tickets`, for clients that cannot set a header",
    "schema": {"type": "string", "maxLength": 128},
}
_LINK = {"Link": _described("Links to the `first`, `next` and `prev` page (RFC 8288)")}
_PAGED = {
    page: {
        "X-Total-Count": _described(
            f"Number of items in the list, if it has at most {COUNT_LIMIT} (some lists: fewer) and no cursor is given",
            "integer",
        ),
        "X-Total-Count-At-Least": _described(
            f"{COUNT_LIMIT} (some lists: less), if the list has more items and no cursor is given", "integer"
        ),
        **_LINK,
    },
    numbered_page: _LINK,
}
_RETRY_AFTER = _described("Seconds after which a retry may succeed", "integer")
_CHALLENGE = _described("Required kind of token, or the error in this one (RFC 6750)")
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": _CHALLENGE},
    403: {"WWW-Authenticate": _CHALLENGE},
    415: {"Accept-Encoding": _described("Accepted content codings, if the body had another one")},
    429: {"Retry-After": _RETRY_AFTER},
    503: {"Retry-After": _RETRY_AFTER},
}


class ServiceApp(FastAPI):
    """FastAPI app whose OpenAPI document uses the system's case and contains every declared problem."""

    def __init__(self, *, case: Case, **options: Any) -> None:
        super().__init__(**options)
        self._case = case
        self._problem_models: set[type[BaseModel]] = {ProblemRead, InvalidRead}

    def build_middleware_stack(self) -> ASGIApp:
        """Return only the router and FastAPI's exit stack. The service's middleware handles errors and body limits."""
        return ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers=self.exception_handlers)

    def add_problem_schemas(self, route: Route) -> None:
        """Add the problem schemas of this route to the document."""
        common = {error for conditional in (True, False) for error in _common_errors(route, conditional=conditional)}
        self._problem_models.update(_model_of(error, route) for error in (*common, *route.errors))

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            token = openapi_case.set(self._case)
            try:
                document = super().openapi()
                schemas = document.setdefault("components", {}).setdefault("schemas", {})
                schemas.update(self._problem_schemas())
                document["components"]["securitySchemes"] = _SECURITY_SCHEMES
                add_examples(document)
                if self._case == "camel":
                    _spell_path_parameters(document)
            finally:
                openapi_case.reset(token)
        return self.openapi_schema or {}

    def _problem_schemas(self) -> dict[str, Any]:
        models = sorted(self._problem_models, key=lambda model: model.__name__)
        _, document = models_json_schema([(model, "serialization") for model in models], ref_template=_REFERENCE)
        schemas: dict[str, Any] = document["$defs"]
        return schemas


def _spell_path_parameters(document: dict[str, Any]) -> None:
    """Write the names of path parameters in camelCase, like fields and query parameters."""
    paths = document.get("paths", {})
    document["paths"] = {_PATH_PARAMETER.sub(_camel, path): item for path, item in paths.items()}
    operations = (each for item in paths.values() for each in item.values() if isinstance(each, dict))
    for parameter in (each for operation in operations for each in operation.get("parameters", ())):
        if parameter["in"] == "path":
            parameter["name"] = to_camel(parameter["name"])


def _camel(found: re.Match[str]) -> str:
    return to_camel(found[0])


def describe_tags(routers: Iterable[Router]) -> list[dict[str, Any]]:
    """Return the tags of the routers with their descriptions, the supplementary ones last."""
    tags: dict[str, dict[str, Any]] = {}
    for router in routers:
        for name in router.tags:
            tag = tags.setdefault(name, {"name": name})
            if router.description:
                tag["description"] = router.description
            if router.supplementary:
                tag[SUPPLEMENTARY] = True
    return sorted(tags.values(), key=lambda tag: SUPPLEMENTARY in tag)


def operation_ids(routers: Iterable[Router]) -> Callable[[Route], str | None]:
    """Return a function that names the operation of a route after its endpoint.

    It returns None if several operations have the same name, so that FastAPI adds the path.
    """
    routes = [route for router in routers for route in router.routes]
    counts = Counter(route.endpoint.__name__ for route in routes if route.is_documented)
    return lambda route: route.endpoint.__name__ if counts[route.endpoint.__name__] == 1 else None


def describe(built: APIRoute, route: Route) -> None:
    """Add the details that FastAPI does not know to an operation: problems, preconditions, headers, permissions."""
    requested = set(functions_of(built.dependant))
    conditional = conditions in requested
    paging = next((headers for dependency, headers in _PAGED.items() if dependency in requested), {})
    tagged = route.response_model is not None and returns_revised_row(route.endpoint)
    parameters = list(_parameters(route, conditional=conditional, tagged=tagged))
    summary, _, rest = built.description.partition("\n")
    built.summary = built.summary or summary.rstrip(".")
    built.description = rest.strip()
    built.responses = {**_responses(route, conditional=conditional, tagged=tagged, paging=paging), **built.responses}
    built.openapi_extra = {
        **security_of(route.access),
        **({"parameters": parameters} if parameters else {}),
        **(built.openapi_extra or {}),
    }


def _parameters(route: Route, *, conditional: bool, tagged: bool) -> Iterable[dict[str, Any]]:
    if conditional or (tagged and route.method == "GET"):
        unchanged = "304" if route.method == "GET" else "412"
        yield _header("If-Match", "ETag that the caller has read; 412 if the resource has changed since", _TAG)
        yield _header("If-None-Match", f"ETag that the caller has; {unchanged} if it is still current", _TAG)
    if route.streams:
        yield dict(_TICKET)
    if route.supports_idempotency_key:
        yield _header("Idempotency-Key", "Repeats with the same key and body have one effect and one response", _KEY)


def _header(name: str, description: str, pattern: str) -> dict[str, Any]:
    schema = {"type": "string", "maxLength": 255, "pattern": pattern}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _responses(
    route: Route, *, conditional: bool, tagged: bool, paging: Mapping[str, Any]
) -> dict[int | str, dict[str, Any]]:
    """Return the documented responses besides the response model, by status."""
    responder: dict[int, list[type[Problem]]] = {}
    conditional = conditional or (tagged and route.method == "GET")
    for error in (*_common_errors(route, conditional=conditional), *route.errors):
        responder.setdefault(error.status, []).append(error)
    documented: dict[int | str, dict[str, Any]] = {
        status: _response(" or ".join(dict.fromkeys(_code_of(error, route) for error in errors)), errors, route)
        for status, errors in sorted(responder.items())
    }
    success: dict[str, Any] = {"X-Request-ID": _REQUEST_ID, **({"ETag": _ETAG} if tagged else {}), **paging}
    if tagged and route.method == "GET":
        documented[304] = {"description": "The caller's copy is current", "headers": dict(success)}
    return {route.status_code: {"headers": success}} | documented


def security_of(access: Access) -> dict[str, Any]:
    """Return the security requirement of an operation; empty for public operations."""
    if access.kind == "public":
        return {}
    return {"security": [{"bearer": []}] if access.needs_caller else [{"bearer": []}, {}]}


def _common_errors(route: Route, *, conditional: bool) -> Iterable[type[Problem]]:
    yield from (BadRequest, Unprocessable, Problem, Unavailable, GatewayTimeout)
    if route.access.needs_caller:
        yield from (Unauthorized, Forbidden)
    if route.method != "GET":
        yield Conflict
        yield PreconditionFailed if conditional else PreconditionUnsupported
    elif conditional:
        yield PreconditionFailed
    if route.method in {"POST", "PUT", "PATCH"}:
        yield from (ContentTooLarge, UnsupportedMediaType, UnsupportedContentEncoding)


def _response(description: str, errors: list[type[Problem]], route: Route) -> dict[str, Any]:
    names = sorted({_model_of(error, route).__name__ for error in errors})
    references = [{"$ref": _REFERENCE.format(model=name)} for name in names]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    headers = {"X-Request-ID": _REQUEST_ID} | _HEADERS.get(errors[0].status, {})
    media_type = OAUTH_MEDIA_TYPE if route.oauth_errors else MEDIA_TYPE
    return {"description": description, "headers": headers, "content": {media_type: {"schema": schema}}}


def _model_of(error: type[Problem], route: Route) -> type[BaseModel]:
    return OAuthErrorRead if route.oauth_errors else problem_model(error)


def _code_of(error: type[Problem], route: Route) -> str:
    return oauth_error_code(error) if route.oauth_errors else error.code
