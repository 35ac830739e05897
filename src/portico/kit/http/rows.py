"""Endpoints that return rows: the route renders them by its `response_model` and sets their headers.

An endpoint declares `response_model=LoanRead` and returns a `Loan`. FastAPI reads the model's fields from the row's
attributes. The ETag is the row's `revision`. If the response also contains data of other rows, the row has a second
number, `related_revision`, which increases when those change. A `Slice` of rows is rendered by the requested page: as a
JSON array, or as an object with the page's numbers.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from starlette.requests import Request
from starlette.responses import Response

from portico.kit.data.paging import Slice
from portico.kit.http.conditional import entity_tag, is_revised
from portico.kit.http.paging import PAGE, NumberedPageRequest, PageRequest

_RETURNED_ROW = "portico.returned_row"
_REQUEST = "portico_request"

Endpoint = Callable[..., Any]


def rendering_rows(endpoint: Endpoint) -> Endpoint:
    """Return `endpoint` with the request as a parameter, so that response headers can be set from its result."""
    signature = inspect.signature(endpoint, eval_str=True)
    own_name = next((name for name, each in signature.parameters.items() if each.annotation is Request), None)
    name = own_name or _REQUEST

    @wraps(endpoint)
    async def call(**values: Any) -> Any:
        request: Request = values[name] if own_name else values.pop(name)
        return _prepare(request, await endpoint(**values))

    if own_name is None:
        added = inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request)
        signature = signature.replace(parameters=[*signature.parameters.values(), added])
    call.__signature__ = signature  # type: ignore[attr-defined]  # inspect.signature reads it
    return call


def _prepare(request: Request, result: Any) -> Any:
    """Return the value for FastAPI to render: a row, or the page of a slice."""
    request.scope[_RETURNED_ROW] = result if is_revised(result) else None
    if not isinstance(result, Slice):
        return result
    page: PageRequest | NumberedPageRequest | None = request.scope.get(PAGE)
    if page is None:
        raise TypeError(f"{request.method} {request.url.path} returns a Slice and has no parameter of type Page")
    return page.render(result)


def set_etag(request: Request, response: Response) -> None:
    """Set the ETag of the returned row on a successful response.

    Call this after the last flush, because a flush increments the revision.
    """
    if (row := request.scope.get(_RETURNED_ROW)) is not None:
        response.headers["etag"] = entity_tag(row, getattr(row, "related_revision", 0))


def returns_revised_row(endpoint: Endpoint) -> bool:
    """Return whether `endpoint` is annotated to return a class with a `revision`, so that responses have an ETag."""
    hints: Mapping[str, Any] = get_type_hints(inspect.unwrap(endpoint))
    annotation = hints.get("return")
    members = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    return any(isinstance(each, type) and hasattr(each, "revision") for each in members)
