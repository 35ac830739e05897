"""Lists: query parameters `skip`, `limit` and `cursor`, and the headers `X-Total-Count` and `Link` (RFC 8288)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Query, Request, Response

from portico.kit.data.paging import Slice, Window

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1000
LARGEST_SKIP = 2**31 - 1
PAGE = "portico.page"
"""Key of the request's page in the ASGI scope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest(Window):
    """The part of a list that a request asks for. Repositories take it as a Window."""

    request: Request
    response: Response

    def set_headers(self, found: Slice[Any]) -> None:
        """Set `X-Total-Count` and `Link` of the response."""
        self.response.headers.update(self.headers(found))

    def headers(self, found: Slice[Any]) -> dict[str, str]:
        """Return `X-Total-Count` and `Link`, for an endpoint that builds its own response."""
        return page_headers(found, self, self.request.url.path, self.request.url.query)


def page_headers(found: Slice[Any], window: Window, path: str, query: str) -> dict[str, str]:
    """Return `x-total-count` and `link` for a slice of the list at `path`. The links keep the filters in `query`."""
    filters = [
        (name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name not in {"skip", "cursor"}
    ]
    links = [_link(path, filters, [], "first")]
    if found.next is not None:
        links.append(_link(path, filters, [("cursor", found.next)], "next"))
    if found.previous is not None:
        links.append(_link(path, filters, [("cursor", found.previous)], "prev"))
    elif window.cursor is None and window.skip > 0:
        links.append(_link(path, filters, [("skip", str(max(0, window.skip - window.limit)))], "prev"))
    return {"x-total-count": str(found.total), "link": ", ".join(links)}


def _link(path: str, filters: Sequence[tuple[str, str]], place: list[tuple[str, str]], relation: str) -> str:
    query = urlencode([*filters, *place])
    return f'<{path}{"?" if query else ""}{query}>; rel="{relation}"'


async def page(
    request: Request,
    response: Response,
    skip: Annotated[int, Query(ge=0, le=LARGEST_SKIP, description="Number of items to skip")] = 0,
    limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT, description="Maximum number of items")] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=1024, description="Position from a `Link` of this list")] = None,
) -> PageRequest:
    requested = PageRequest(skip=skip, limit=limit, cursor=cursor, request=request, response=response)
    request.scope[PAGE] = requested
    return requested


Page = Annotated[PageRequest, Depends(page)]
"""The page of a list that the caller requests."""
