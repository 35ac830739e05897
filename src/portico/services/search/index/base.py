"""The search index, as the service uses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

from portico.contracts.events import ShowId, ShowStatus
from portico.kit import Reader, UnitOfWork
from portico.services.search.document import Document
from portico.services.search.domain import Term
from portico.services.search.models import Slot

Facet = Literal["status", "category", "venue_name", "month"]

FACETS: Final[tuple[Facet, ...]] = ("status", "category", "venue_name", "month")
MAX_FACET_VALUES: Final = 50

Counts = Mapping[Facet, Mapping[str, int]]


class Position(NamedTuple):
    """The place of a show in the results: what they are ordered by."""

    tier: int
    status_rank: int
    starts_at: int
    show_id: int


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What is searched for.

    Attributes:
        terms: the terms of the text; all must match, or the most. None: every show.
        status: only shows in this status.
        category_key: only shows of this category; see `category_key`.
        venue: all these terms must match the venue.
        starts_from, starts_before: bounds in microseconds since 1970.
        first_date, last_date: bounds in the show's time zone, both included (YYYY-MM-DD).
        max_price: see `price_order`.
    """

    terms: tuple[Term, ...] | None = None
    status: ShowStatus | None = None
    category_key: str | None = None
    venue: tuple[Term, ...] = ()
    starts_from: int | None = None
    starts_before: int | None = None
    first_date: str | None = None
    last_date: str | None = None
    max_price: int | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """A part of the results, the number of all, and how many shows each value of a facet has.

    A facet counts without its own filter. is_relaxed: no show has all terms; these have the most.
    """

    positions: Sequence[Position]
    total: int
    facets: Counts = field(default_factory=lambda: {facet: {} for facet in FACETS})
    is_relaxed: bool = False


class Digest(NamedTuple):
    """The number of documents and the sum of their fingerprints. Two indexes with the same shows have the same."""

    documents: int
    fingerprints: int


class ShowIndex(Protocol):
    """Finds shows. It has two slots, each with an index of its own.

    A change is repeatable: writing the same document again has no effect. Each method raises IndexUnavailable if the index
    cannot answer now.
    """

    async def write(
        self, work: UnitOfWork, slot: Slot, documents: Sequence[Document], revisions: Sequence[int]
    ) -> None:
        """Add documents to a slot, or replace them."""
        ...

    async def remove(self, work: UnitOfWork, slot: Slot, show_id: ShowId, revision: int) -> None:
        """Remove a show from a slot, if it is there."""
        ...

    async def clear(self, work: UnitOfWork, slot: Slot) -> None:
        """Remove everything from a slot."""
        ...

    async def digest(self, work: UnitOfWork, slot: Slot) -> Digest:
        """Return the digest of what is in a slot."""
        ...

    async def search(
        self,
        reader: Reader,
        slot: Slot,
        query: SearchQuery,
        *,
        limit: int,
        skip: int = 0,
        after: Position | None = None,
    ) -> Results:
        """Return up to `limit` results in order, after a position or after `skip` results."""
        ...
