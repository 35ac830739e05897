"""Problems as `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_type_hints

import orjson
from pydantic import ConfigDict, create_model
from pydantic.alias_generators import to_camel
from pydantic_core import to_jsonable_python
from starlette.responses import Response

from portico.kit.foundation.ids import IntegerIdentifier
from portico.kit.foundation.problems import NotFound, Problem, Unprocessable
from portico.kit.http.schema import Case, Schema, location_in_caller_case

MEDIA_TYPE = "application/problem+json"
_MAX_ERRORS = 100


class FieldError(Schema):
    """One error in a request: location, message and type."""

    location: list[int | str]
    message: str
    type: str


class ProblemRead(Schema):
    """Common members of all problems. Each kind may add its own members (RFC 9457 section 3.2)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str


class InvalidRead(ProblemRead):
    """A problem with field errors."""

    errors: list[FieldError]


def problem_document(
    problem: Problem,
    *,
    instance: str,
    request_id: str,
    case: Case = "snake",
    errors: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return the members of the problem document.

    Args:
        problem: the error.
        instance: path of the request.
        request_id: id of the request.
        case: case of the member names.
        errors: field errors; by default one for an Unprocessable.
    """
    document: dict[str, Any] = {
        "type": f"urn:portico:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.sentence(),
        "instance": instance,
        "code": problem.code,
        "request_id": request_id,
        **problem.data(),
    }
    if errors is None and isinstance(problem, Unprocessable):
        errors = [_error_of(problem, case)]
    if errors is not None:
        document["errors"] = errors
    plain: dict[str, Any] = to_jsonable_python(document, by_alias=case == "camel")
    return {to_camel(key): value for key, value in plain.items()} if case == "camel" else plain


def field_errors(faults: Sequence[Mapping[str, Any]], sent: Any, case: Case) -> list[dict[str, Any]]:
    """Return the first hundred of Pydantic's errors as the member `errors`, without the values that were sent."""
    return [
        {
            "location": location_in_caller_case(tuple(fault["loc"]), sent, case),
            "message": fault["msg"],
            "type": fault["type"],
        }
        for fault in faults[:_MAX_ERRORS]
    ]


def _error_of(problem: Unprocessable, case: Case) -> dict[str, Any]:
    """Return the field error of a problem that a rule raised, in the format of a validation error."""
    spelled = [to_camel(part) if case == "camel" and "_" in part else part for part in problem.location]
    return {"location": spelled, "message": problem.sentence(), "type": problem.code}


def problem_bytes(
    problem: Problem,
    *,
    instance: str,
    request_id: str,
    case: Case = "snake",
    errors: list[dict[str, Any]] | None = None,
) -> bytes:
    """Return the problem document as JSON."""
    return orjson.dumps(problem_document(problem, instance=instance, request_id=request_id, case=case, errors=errors))


def problem_response(
    problem: Problem,
    *,
    instance: str,
    request_id: str,
    case: Case = "snake",
    errors: list[dict[str, Any]] | None = None,
) -> Response:
    """Return the problem as a response, with its headers."""
    body = problem_bytes(problem, instance=instance, request_id=request_id, case=case, errors=errors)
    return Response(body, problem.status, media_type=MEDIA_TYPE, headers=problem.headers)


def problem_model(kind: type[Problem]) -> type[Schema]:
    """Return the model of this kind of problem for the OpenAPI document: the common members and its own."""
    if (known := _MODELS.get(kind)) is not None:
        return known
    base: type[Schema] = InvalidRead if kind.status == HTTPStatus.UNPROCESSABLE_ENTITY else ProblemRead
    hints = get_type_hints(kind)
    if issubclass(kind, NotFound):
        hints = {name: _as_sent(hint) for name, hint in hints.items()}
    fields: dict[str, Any] = {name: (hints[name], ...) for name in kind.field_names()}
    model = create_model(kind.__name__, __base__=base, __doc__=kind.detail, **fields) if fields else base
    return _MODELS.setdefault(kind, model)


def _as_sent(hint: Any) -> Any:
    """Return the type of a value from the path, which may be a malformed identifier."""
    if not isinstance(hint, type):
        return hint
    if issubclass(hint, IntegerIdentifier):
        return hint | str
    return str if issubclass(hint, str) else hint


_MODELS: dict[type[Problem], type[Schema]] = {}
