from typing import Literal

from pydantic import Field

from portico.contracts.events import ShowId, ShowStatus
from portico.kit import Moment, Schema
from portico.kit.http import PageNumbers
from portico.services.search.models import RebuildId, RebuildStatus


class HighlightsRead(Schema):
    """The fields with matches, as HTML: everything is escaped, and matches are in `<em>`."""

    event_name: str | None = None
    venue_name: str | None = None
    description: str | None = None


class FoundTermRead(Schema):
    """How a term was found: in which field, as which word, with how many typos. `field` is null if it was not found."""

    term: str
    field: Literal["event_name", "venue_name", "description"] | None
    word: str | None
    match: Literal["exact", "prefix", "phrase", "typo"] | None
    typos: int


class ExplanationRead(Schema):
    """Why a show has its place: results are ordered by tier, then status_rank, then date, then id.

    tier: 0 to 2 all terms exact (in the name; in name and venue; in all fields), 3 to 5 with typos, from 6 on some terms only.
    status_rank: 0 on sale, 1 still to come or sold out, 2 ended.
    """

    tier: int
    status_rank: int
    terms: list[FoundTermRead]


class FoundShowRead(Schema):
    event_id: ShowId
    event_name: str
    event_date: Moment
    venue_name: str
    status: ShowStatus
    price: float
    currency: str
    category: str | None
    highlights: HighlightsRead
    score: float
    explanation: ExplanationRead | None = None


class FacetsRead(Schema):
    """How many shows each value has; of each facet at most 50 values, the most frequent ones."""

    status: dict[str, int]
    category: dict[str, int]
    venue_name: dict[str, int]
    month: dict[str, int]


class SearchRead(Schema):
    events: list[FoundShowRead]
    page: PageNumbers
    facets: FacetsRead
    relaxed: bool = Field(description="Whether no show has all terms; then those with the most terms are found")


class RebuildRead(Schema):
    """A rebuild of the index. `documents` is the number of shows, `indexed` how many of them the new index has."""

    rebuild_id: RebuildId
    status: RebuildStatus
    documents: int | None
    indexed: int
    failure_reason: str | None
    created_at: Moment
    ended_at: Moment | None
