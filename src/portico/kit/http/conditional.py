"""Conditional requests (RFC 9110 section 13): prevent lost updates, and answer 304 if the caller's copy is current."""

import re
from typing import Annotated, Any, Protocol, TypeGuard

from fastapi import Depends, Request, Response

from portico.kit._compat.fastapi import lookup
from portico.kit.foundation.problems import PreconditionFailed

_RELATED_NUMBER = re.compile(r'\.[0-9]{1,10}"$')


class Revised(Protocol):
    """A row that counts its changes in `revision`."""

    @property
    def revision(self) -> Any: ...


def is_revised(value: object) -> "TypeGuard[Revised]":
    """Return whether `value` is a row with a revision."""
    return hasattr(value, "revision")


class Conditional:
    """The caller's `If-Match` precondition, and the ETag of the response."""

    def __init__(self, if_match: str | None) -> None:
        self._if_match = if_match
        self._tagged: Revised | None = None
        self._related = 0

    def require(self, row: Revised) -> None:
        """Raise PreconditionFailed if `If-Match` names another revision of `row`.

        The number of related rows in an ETag is ignored, because they are not edited with the row. Call it with the row
        locked, so that the revision cannot change afterwards.
        """
        if self._if_match is None or self._if_match.strip() == "*":
            return
        if entity_tag(row) not in {_RELATED_NUMBER.sub('"', tag) for tag in _tags(self._if_match)}:
            raise PreconditionFailed

    def tag(self, row: Revised, *, related: int = 0) -> None:
        """Send the revision of `row` after the commit as the response's ETag.

        Args:
            row: the row that the response shows.
            related: a number that increases when other data in the response changes that the row's revision does not
                count.
        """
        self._tagged = row
        self._related = related

    @property
    def etag(self) -> str | None:
        return None if self._tagged is None else entity_tag(self._tagged, self._related)


def entity_tag(row: Revised, related: int = 0) -> str:
    """Return the strong ETag of a row: "7", or "7.42" if the response also shows related data."""
    return f'"{row.revision}.{related}"' if related else f'"{row.revision}"'


def is_known(if_none_match: str | None, response: Response) -> bool:
    """Return whether `If-None-Match` names this response, so that 304 suffices."""
    if if_none_match is None or "etag" not in response.headers:
        return False
    tags = {tag.removeprefix("W/") for tag in _tags(if_none_match)}
    return "*" in tags or response.headers["etag"] in tags


def _tags(header: str) -> set[str]:
    return {tag.strip() for tag in header.split(",")}


@lookup
async def conditions(request: Request) -> Conditional:
    conditional = Conditional(request.headers.get("if-match"))
    request.scope["portico.conditional"] = conditional
    return conditional


Conditions = Annotated[Conditional, Depends(conditions)]
"""Preconditions of the request on the resource that the endpoint reads or changes."""
