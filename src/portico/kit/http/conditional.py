"""Conditional requests (RFC 9110 section 13): two editors can't overwrite one another, and what is known is not sent."""

import re
from typing import Annotated, Any, Protocol, TypeGuard

from fastapi import Depends, Request, Response

from portico.kit._compat.fastapi import lookup
from portico.kit.foundation.problems import PreconditionFailed

_BESIDES = re.compile(r'\.[0-9]{1,10}"$')


class Revised(Protocol):
    """A row that counts its changes."""

    @property
    def revision(self) -> Any: ...


def is_revised(value: object) -> "TypeGuard[Revised]":
    """Whether `value` is a row with a revision."""
    return hasattr(value, "revision")


class Conditional:
    """What the caller says it has seen (`If-Match`), and the tag of what it gets."""

    def __init__(self, if_match: str | None) -> None:
        self._if_match = if_match
        self._tagged: Revised | None = None
        self._shows = 0

    def require(self, row: Revised) -> None:
        """Raises PreconditionFailed where `If-Match` names another revision of `row` than this one.

        What an answer shows besides, which is not edited with the row, does not count: there is nothing to overwrite.
        Ask with the row locked, or the answer is old when it comes.
        """
        if self._if_match is None or self._if_match.strip() == "*":
            return
        if entity_tag(row) not in {_BESIDES.sub('"', tag) for tag in _tags(self._if_match)}:
            raise PreconditionFailed

    def tag(self, row: Revised, *, shows: int = 0) -> None:
        """Send `row`'s revision, as it is after the commit, as the answer's ETag.

        `shows` is a number that goes up with whatever else the answer tells of and the row's revision does not count.
        """
        self._tagged = row
        self._shows = shows

    @property
    def etag(self) -> str | None:
        return None if self._tagged is None else entity_tag(self._tagged, self._shows)


def entity_tag(row: Revised, shows: int = 0) -> str:
    """The strong entity tag of a row: "7", or "7.42" of one whose answer shows more than the row."""
    return f'"{row.revision}.{shows}"' if shows else f'"{row.revision}"'


def is_known(if_none_match: str | None, response: Response) -> bool:
    """Whether the caller, by its `If-None-Match`, has this very answer (304)."""
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
"""The caller's conditions on the resource that the endpoint reads or changes."""
