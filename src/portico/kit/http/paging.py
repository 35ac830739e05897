"""Lists: `skip`, `limit` and `cursor` in, a bare array with `X-Total-Count` and `Link` (RFC 8288) out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Query, Request, Response

from portico.kit.data.paging import Slice, Window
from portico.kit.http.schema import Schema

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1000
LARGEST_SKIP = 2**31 - 1

Shape = TypeVar("Shape", bound=Schema)


@dataclass(frozen=True, slots=True)
class PageOf:
    """The part of a list that is asked for, and what tells the caller about the rest."""

    window: Window
    request: Request
    response: Response

    def of(self, shape: type[Shape], found: Slice[Any]) -> list[Shape]:
        """The rows as `shape`, with the headers that lead on."""
        self.lead_on(found)
        return [shape.of(row) for row in found.rows]

    def lead_on(self, found: Slice[Any]) -> None:
        """Set `X-Total-Count` and `Link` for rows that are shaped elsewhere."""
        self.response.headers.update(self.headers(found))

    def headers(self, found: Slice[Any]) -> dict[str, str]:
        """`X-Total-Count` and `Link`, for an answer that the endpoint makes itself."""
        return page_headers(found, self.window, self.request.url.path, self.request.url.query)


def page_headers(found: Slice[Any], window: Window, path: str, query: str) -> dict[str, str]:
    """`x-total-count` and `link` for a slice of the list at `path`, whose filters stand in `query`."""
    kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name not in {"skip", "cursor"}]
    links = [_link(path, kept, [], "first")]
    if found.next is not None:
        links.append(_link(path, kept, [("cursor", found.next)], "next"))
    if found.previous is not None:
        links.append(_link(path, kept, [("cursor", found.previous)], "prev"))
    elif window.cursor is None and window.skip > 0:
        links.append(_link(path, kept, [("skip", str(max(0, window.skip - window.limit)))], "prev"))
    return {"x-total-count": str(found.total), "link": ", ".join(links)}


def _link(path: str, kept: Sequence[tuple[str, str]], place: list[tuple[str, str]], relation: str) -> str:
    query = urlencode([*kept, *place])
    return f'<{path}{"?" if query else ""}{query}>; rel="{relation}"'


async def page(
    request: Request,
    response: Response,
    skip: Annotated[int, Query(ge=0, le=LARGEST_SKIP, description="How many to pass over")] = 0,
    limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT, description="How many at most")] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=1024, description="Where a `Link` of this list leads")] = None,
) -> PageOf:
    return PageOf(Window(skip=skip, limit=limit, cursor=cursor), request, response)


Page = Annotated[PageOf, Depends(page)]
"""The part of a list that the caller asks for."""
