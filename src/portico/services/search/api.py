import base64
import binascii
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final

import orjson
from fastapi import Depends, Query, Request, Response

from portico.contracts.events import ShowStatus
from portico.kit import (
    Context,
    InvalidCursor,
    NumberedPage,
    Principal,
    PublicRead,
    Reads,
    Router,
    Slice,
    Work,
    permitted,
)
from portico.kit.http import DateOrMoment
from portico.services.search import service
from portico.services.search.document import Document, category_key, microseconds, price_order
from portico.services.search.domain import Term, parse_query, score
from portico.services.search.errors import IndexUnavailable, RebuildNotFound
from portico.services.search.index.base import Position, SearchQuery, ShowIndex
from portico.services.search.models import Rebuild, RebuildId
from portico.services.search.rebuilder import Rebuilder
from portico.services.search.repository import Rebuilds
from portico.services.search.schemas import RebuildRead, SearchRead

router = Router(prefix="/search", tags=["search"], description="Search for shows, and rebuilds of its index")

Rebuilding = Annotated[Principal, permitted("search:write")]
MAX_QUERY_LENGTH: Final = 200


async def _query(
    q: Annotated[
        str | None,
        Query(max_length=MAX_QUERY_LENGTH, description='Words; the last one may be incomplete. "…" is exact'),
    ] = None,
    status: ShowStatus | None = None,
    category: Annotated[str | None, Query(max_length=MAX_QUERY_LENGTH)] = None,
    venue: Annotated[str | None, Query(max_length=MAX_QUERY_LENGTH, description="Words that the venue has")] = None,
    date_from: Annotated[
        DateOrMoment | None, Query(description="A time, or a date in the show's time zone; included")
    ] = None,
    date_to: Annotated[
        DateOrMoment | None, Query(description="A time (excluded), or a date in the show's time zone (included)")
    ] = None,
    max_price: Annotated[Decimal | None, Query(ge=0, max_digits=15, decimal_places=4, allow_inf_nan=False)] = None,
) -> SearchQuery:
    return SearchQuery(
        terms=None if q is None or not q.strip() else parse_query(q),
        status=status,
        category_key=category_key(category) if category else None,
        venue=tuple(Term(each.words, is_exact=each.is_exact) for each in parse_query(venue or "")),
        starts_from=_instant(date_from),
        starts_before=_instant(date_to),
        first_date=_day(date_from),
        last_date=_day(date_to),
        max_price=None if max_price is None else price_order(max_price),
    )


def _instant(bound: datetime | date | None) -> int | None:
    return microseconds(bound) if isinstance(bound, datetime) else None


def _day(bound: datetime | date | None) -> str | None:
    return None if bound is None or isinstance(bound, datetime) else bound.isoformat()


@router.get(
    "",
    errors=[InvalidCursor, IndexUnavailable],
    response_model=SearchRead,
    framework={"response_model_exclude_unset": True},
)
async def search_shows(
    query: Annotated[SearchQuery, Depends(_query)],
    caller: PublicRead,
    page: NumberedPage,
    reads: Reads,
    context: Context,
    explain: Annotated[bool, Query(description="Whether each show says why it has its place")] = False,  # noqa: FBT002  # a query parameter
) -> dict[str, Any]:
    """Search for shows.

    Case and accents are ignored. Words of five to eight letters may have one typo, longer ones two. If no show has all
    words, the shows with the most are found (`relaxed`). Without `q`, every show is found, those on sale first.
    """
    index = context.resource(ShowIndex)  # type: ignore[type-abstract]  # the declared type is the interface
    after = None if page.cursor is None else _position(page.cursor)
    # If the query finds one show more than the page has, there is another page.
    found, results = await service.search_shows(reads, index, query, limit=page.limit + 1, skip=page.skip, after=after)
    terms = query.terms or ()
    shown = [_shown(each.document, each.position, terms, explained=explain) for each in found[: page.limit]]
    has_more = len(results.positions) > page.limit
    following = _cursor(results.positions[page.limit - 1]) if has_more else None
    rendered = page.render(Slice(shown, results.total, next=following))
    return {
        "events": rendered.rows,
        "page": rendered.page,
        "facets": results.facets,
        "relaxed": results.is_relaxed,
    }


def _shown(show: Document, position: Position, terms: tuple[Term, ...], *, explained: bool) -> dict[str, Any]:
    names = ("event_id", "event_name", "event_date", "venue_name", "status", "currency", "category")
    shown: dict[str, Any] = {name: getattr(show, name) for name in names}
    shown["price"] = float(show.price)
    shown["highlights"] = show.texts.highlights(terms)
    shown["score"] = score(position.tier)
    if explained:
        shown["explanation"] = {
            "tier": position.tier,
            "status_rank": position.status_rank,
            "terms": [_explained(show, each) for each in terms],
        }
    return shown


def _explained(show: Document, term: Term) -> dict[str, Any]:
    found = min(show.texts.find(term), key=lambda each: each.typos, default=None)
    if found is None:
        return {"term": term.text, "field": None, "word": None, "match": None, "typos": 0}
    word = term.text if found.how == "phrase" else found.first.word
    return {"term": term.text, "field": found.field, "word": word, "match": found.how, "typos": found.typos}


def _cursor(last: Position) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(list(last))).rstrip(b"=").decode()


def _position(cursor: str) -> Position:
    """Return the position that a cursor contains. Raises InvalidCursor."""
    try:
        values = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise InvalidCursor from error
    is_position = isinstance(values, list) and len(values) == len(Position._fields)
    if not is_position or not all(type(each) is int and abs(each) < 2**62 for each in values):
        raise InvalidCursor
    return Position(*values)


@router.post("/rebuild", status_code=202, response_model=RebuildRead)
async def rebuild_index(
    caller: Rebuilding, work: Work, context: Context, request: Request, response: Response
) -> Rebuild:
    """Rebuild the index beside the live one, compare it and swap them. A rebuild that has not ended is returned instead."""
    rebuild = await service.request_rebuild(work)
    work.after_commit(context.resource(Rebuilder).wake)
    response.headers["location"] = f"{request.url.path}/{rebuild.rebuild_id}"
    return rebuild


@router.get("/rebuild/{rebuild_id}", response_model=RebuildRead, errors=[RebuildNotFound])
async def read_rebuild(rebuild_id: RebuildId, caller: Rebuilding, reads: Reads) -> Rebuild:
    """Return a rebuild."""
    return await Rebuilds(reads).get(rebuild_id)
