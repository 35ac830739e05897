"""Problems as `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_type_hints

import orjson
from pydantic import ConfigDict, create_model
from pydantic.alias_generators import to_camel
from pydantic_core import to_jsonable_python
from starlette.responses import Response

from portico.kit.foundation.problems import Problem, Unprocessable
from portico.kit.http.schema import Case, Schema, caller_spelling

MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 100


class FieldError(Schema):
    """One thing wrong with a request: where, what, and its type as a word."""

    location: list[int | str]
    message: str
    type: str


class ProblemRead(Schema):
    """What every refusal looks like; each kind may add members of its own (RFC 9457 section 3.2)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str


class InvalidRead(ProblemRead):
    """A refusal that names what is wrong where in the request."""

    errors: list[FieldError]


def problem_document(
    problem: Problem,
    *,
    instance: str,
    request_id: str,
    case: Case = "snake",
    errors: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The members of the problem document, in the system's spelling."""
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
    """Pydantic's faults in what was `sent` as the member `errors`, the first hundred; never the value that was sent."""
    return [
        {"location": caller_spelling(tuple(fault["loc"]), sent, case), "message": fault["msg"], "type": fault["type"]}
        for fault in faults[:_MOST_ERRORS]
    ]


def _error_of(problem: Unprocessable, case: Case) -> dict[str, Any]:
    """What a rule refused, told as what a field's type refuses: a caller reads one list, whoever found the fault."""
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
    """The problem document as JSON."""
    return orjson.dumps(problem_document(problem, instance=instance, request_id=request_id, case=case, errors=errors))


def problem_response(
    problem: Problem,
    *,
    instance: str,
    request_id: str,
    case: Case = "snake",
    errors: list[dict[str, Any]] | None = None,
) -> Response:
    """The problem as an answer, with its headers."""
    body = problem_bytes(problem, instance=instance, request_id=request_id, case=case, errors=errors)
    return Response(body, problem.status, media_type=MEDIA_TYPE, headers=problem.headers)


def problem_shape(kind: type[Problem]) -> type[Schema]:
    """The shape of this kind of problem for the OpenAPI document: the common members and its own."""
    if (known := _SHAPES.get(kind)) is not None:
        return known
    base: type[Schema] = InvalidRead if kind.status == HTTPStatus.UNPROCESSABLE_ENTITY else ProblemRead
    hints = get_type_hints(kind)
    fields: dict[str, Any] = {name: (hints[name], ...) for name in kind.field_names()}
    shape = create_model(kind.__name__, __base__=base, __doc__=kind.detail, **fields) if fields else base
    return _SHAPES.setdefault(kind, shape)


_SHAPES: dict[type[Problem], type[Schema]] = {}
