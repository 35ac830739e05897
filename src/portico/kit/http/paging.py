"""Lists: the page that a request selects, and the links and totals of the response.

`Page` takes the parameters `skip`, `limit` and `cursor`. The response is an array with the headers `X-Total-Count` and
`Link` (RFC 8288). A list of more than `COUNT_LIMIT` items has `X-Total-Count-At-Least` instead. A page that a cursor
selects has no total.

`NumberedPage` takes the parameters `page`, `size` and `cursor`. The response is an object, see `numbered_list`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Query, Request, Response
from pydantic import Field, create_model

from portico.kit.data.paging import Slice, Window
from portico.kit.http.schema import Schema

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_SKIP = 2**31 - 1
DEFAULT_SIZE = 20
MAX_PAGE_SIZE = 100
PAGE = "portico.page"
"""Key of the request's page in the ASGI scope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest(Window):
    """The page of a list that a request selects. Repositories take it as a Window."""

    request: Request
    response: Response

    def render(self, found: Slice[Any]) -> Any:
        """Set the headers with the total and `Link`, and return the rows for the response model."""
        self.response.headers.update(self.headers(found))
        return found.rows

    def headers(self, found: Slice[Any]) -> dict[str, str]:
        """Return the headers with the total and `Link`, for an endpoint that builds its own response."""
        return page_headers(found, self, self.request.url.path, self.request.url.query)


def page_headers(found: Slice[Any], window: Window, path: str, query: str) -> dict[str, str]:
    """Return the headers of a slice of the list at `path`. The links keep the filters in `query`."""
    filters = _filters(query, "skip", "cursor")
    links = [_link(path, filters, [], "first")]
    if found.next is not None:
        links.append(_link(path, filters, [("cursor", found.next)], "next"))
    if found.previous is not None:
        links.append(_link(path, filters, [("cursor", found.previous)], "prev"))
    elif window.cursor is None and window.skip > 0:
        links.append(_link(path, filters, [("skip", str(max(0, window.skip - window.limit)))], "prev"))
    return {**_total(found), "link": ", ".join(links)}


def _total(found: Slice[Any]) -> dict[str, str]:
    if found.total is None:
        return {}
    if found.total > found.count_limit:
        return {"x-total-count-at-least": str(found.count_limit)}
    return {"x-total-count": str(found.total)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedPageRequest(Window):
    """The numbered page of a list that a request selects. A cursor replaces the number. Pages start at 0."""

    number: int
    request: Request
    response: Response

    def render(self, found: Slice[Any]) -> "NumberedSlice":
        """Set the `Link` header, and return the value for a model of `numbered_list`."""
        self.response.headers["link"] = ", ".join(self._links(found))
        if found.total is None:
            raise ValueError("A numbered page shows its total: the list must be counted")
        return NumberedSlice(list(found.rows), PageNumbers.of_page(self.number, self.limit, found.total))

    def _links(self, found: Slice[Any]) -> list[str]:
        path, filters = self.request.url.path, _filters(self.request.url.query, "page", "cursor")
        links = [_link(path, filters, [], "first")]
        if found.next is not None:
            links.append(_link(path, filters, [("page", str(self.number + 1)), ("cursor", found.next)], "next"))
        if self.number > 0 and (found.previous is not None or self.cursor is None):
            place = [("page", str(self.number - 1))]
            links.append(_link(path, filters, [*place, *_cursor(found.previous)], "prev"))
        return links


class PageNumbers(Schema):
    """Position of a numbered page in its list."""

    number: int = Field(description="Number of the page, from 0")
    size: int = Field(description="Maximum number of items on a page")
    total_elements: int = Field(description="Number of items in the list")
    total_pages: int = Field(description="Number of pages in the list")

    @classmethod
    def of_page(cls, number: int, size: int, total: int) -> "PageNumbers":
        """Return the numbers of a page of a list with `total` items."""
        return cls(number=number, size=size, total_elements=total, total_pages=-(-total // size))


@dataclass(frozen=True, slots=True)
class NumberedSlice:
    """The rows of a numbered page."""

    rows: list[Any]
    page: PageNumbers


@cache
def numbered_list(name: str, item: type[Any]) -> type[Schema]:
    """Return the response model of a list with numbered pages: `{"loans": […], "page": {…}}`.

    Args:
        name: name of the list, in snake_case and plural.
        item: model of an item. The model of `LoanRead` is called `LoanPage`.
    """
    fields: dict[str, Any] = {name: (list[item], Field(validation_alias="rows")), "page": (PageNumbers, ...)}  # type: ignore[valid-type]
    return create_model(f"{item.__name__.removesuffix('Read')}Page", __base__=Schema, **fields)


def _filters(query: str, *places: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name not in places]


def _cursor(cursor: str | None) -> list[tuple[str, str]]:
    return [] if cursor is None else [("cursor", cursor)]


def _link(path: str, filters: Sequence[tuple[str, str]], place: list[tuple[str, str]], relation: str) -> str:
    query = urlencode([*filters, *place])
    return f'<{path}{"?" if query else ""}{query}>; rel="{relation}"'


async def page(
    request: Request,
    response: Response,
    skip: Annotated[int, Query(ge=0, le=MAX_SKIP, description="Number of items to skip")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Maximum number of items")] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=1024, description="Position from a `Link` of this list")] = None,
) -> PageRequest:
    requested = PageRequest(skip=skip, limit=limit, cursor=cursor, request=request, response=response)
    request.scope[PAGE] = requested
    return requested


Page = Annotated[PageRequest, Depends(page)]
"""The page of a list that the caller requests."""


async def numbered_page(
    request: Request,
    response: Response,
    page: Annotated[int, Query(ge=0, le=MAX_SKIP // MAX_PAGE_SIZE, description="Number of the page, from 0")] = 0,
    size: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="Maximum number of items on a page")] = DEFAULT_SIZE,
    cursor: Annotated[str | None, Query(max_length=1024, description="Position from a `Link` of this list")] = None,
) -> NumberedPageRequest:
    requested = NumberedPageRequest(
        number=page, skip=page * size, limit=size, cursor=cursor, counts_all=True, request=request, response=response
    )
    request.scope[PAGE] = requested
    return requested


NumberedPage = Annotated[NumberedPageRequest, Depends(numbered_page)]
"""The numbered page of a list that the caller requests. The response model is `numbered_list(…)`."""
