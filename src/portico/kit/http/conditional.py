"""Conditional requests (RFC 9110 section 13): prevent lost updates, and answer 304 if the caller's copy is current.

The order of evaluation is that of section 13.2.2: `If-Match` first, then `If-None-Match`. Responses have no
`Last-Modified`, so the conditions on times do not apply.
"""

import re
from typing import Annotated, Any, Protocol, TypeGuard

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from portico.kit._compat.fastapi import lookup
from portico.kit.foundation.problems import PreconditionFailed
from portico.kit.http.request import combined_field

_ENTITY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')  # RFC 9110 section 8.8.3
_RELATED_NUMBER = re.compile(r'\.[0-9]{1,10}"')
_NOT_MODIFIED = 304
_ERRORS = 400
_HEADERS_OF_304 = ("etag", "cache-control", "content-location", "expires", "vary")  # RFC 9110 section 15.4.5

CONDITIONAL = "portico.conditional"
"""Key of the request's preconditions in the ASGI scope."""


class Revised(Protocol):
    """A row that counts its changes in `revision`."""

    @property
    def revision(self) -> Any: ...


def is_revised(value: object) -> "TypeGuard[Revised]":
    """Return whether `value` is a row with a revision."""
    return hasattr(value, "revision")


class PreconditionUnsupported(PreconditionFailed):
    """The operation cannot evaluate a condition. Ignoring it could overwrite what the caller wants to protect."""

    detail = "This operation does not support {fields}. Repeat the request without it."

    fields: str


class Conditional:
    """The preconditions of a request that changes a resource.

    Args:
        if_match: the field `If-Match`, or None.
        if_none_match: the field `If-None-Match`, or None.
    """

    def __init__(self, if_match: str | None = None, if_none_match: str | None = None) -> None:
        self._if_match = if_match
        self._if_none_match = if_none_match
        self._evaluated = False

    def require(self, row: Revised | None) -> None:
        """Raise PreconditionFailed if a precondition rejects the state of the resource.

        The second number of an ETag (related data) is ignored, because that data is not edited with the row. Lock the
        row before the call, so that its revision cannot change afterwards.

        Args:
            row: the row that will be changed; None if the resource does not exist yet.
        """
        self._evaluated = True
        current = None if row is None else entity_tag(row)
        if self._if_match is not None and not _names(_without_related(self._if_match), current, weak=False):
            raise PreconditionFailed
        if self._if_none_match is not None and _names(_without_related(self._if_none_match), current, weak=True):
            raise PreconditionFailed

    def reject_unevaluated(self) -> None:
        """Raise PreconditionUnsupported if the request has preconditions that `require` has not evaluated."""
        given = {"If-Match": self._if_match, "If-None-Match": self._if_none_match}
        names = [name for name, value in given.items() if value is not None]
        if names and not self._evaluated:
            raise PreconditionUnsupported(fields=" and ".join(names))


def entity_tag(row: Revised, related: int = 0) -> str:
    """Return the strong ETag of a row: "7", or "7.42" if the response also contains related data.

    Args:
        row: the row in the response.
        related: a number that increases when related data in the response changes without a new revision of the row.
    """
    return f'"{row.revision}.{related}"' if related else f'"{row.revision}"'


def conditional_response(request: Request, response: Response) -> Response:
    """Return `response`, or a 304 if the caller already has it. Raises PreconditionFailed."""
    if response.status_code >= _ERRORS:
        return response
    etag = response.headers.get("etag", "")
    if_match = combined_field(request.headers, "if-match")
    if if_match is not None and not _names(if_match, etag, weak=False):
        raise PreconditionFailed
    if_none_match = combined_field(request.headers, "if-none-match")
    if if_none_match is None or not _names(if_none_match, etag, weak=True):
        return response
    kept = {name: response.headers[name] for name in _HEADERS_OF_304 if name in response.headers}
    return Response(status_code=_NOT_MODIFIED, headers=kept)


def _names(field: str, etag: str | None, *, weak: bool) -> bool:
    """Return whether a list of entity tags contains `etag`; `*` matches every existing representation."""
    if field.strip() == "*":
        return etag is not None
    tags = _ENTITY_TAG.findall(field)
    return etag in ({tag.removeprefix("W/") for tag in tags} if weak else tags)


def _without_related(field: str) -> str:
    return _RELATED_NUMBER.sub('"', field)


@lookup
async def conditions(request: Request) -> Conditional:
    headers = request.headers
    conditional = Conditional(combined_field(headers, "if-match"), combined_field(headers, "if-none-match"))
    request.scope[CONDITIONAL] = conditional
    return conditional


Conditions = Annotated[Conditional, Depends(conditions)]
"""Preconditions on the resource that the endpoint changes. For a GET, the boundary evaluates them."""
