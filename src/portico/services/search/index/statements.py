"""The statements of one search in the service's own database, and what few hits come to."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import Any, Final

from portico.services.search.domain import FIELDS, LEVELS, RELAXED, Field
from portico.services.search.index.base import (
    FACETS,
    MAX_FACET_VALUES,
    Facet,
    Position,
    Results,
    SearchQuery,
)
from portico.services.search.index.full_text import FULL_TEXT, Alternatives
from portico.services.search.models import Slot

FEW_HITS: Final = 500
_VENUE: Final[tuple[Field, ...]] = ("venue_name",)
_ORDER: Final = "tier, status_rank, starts_at, show_id"
_AFTER: Final = ("after_tier", "after_status_rank", "after_start", "after_show")
_FLAGS: Final = len(FACETS) + len(Position._fields)  # place of the first flag in a hit


class SearchStatements:
    """The statements of one search.

    Terms are expressions of the database's full-text search. The tier of a show is the number of the first expression that it
    matches, from the strictest to the widest.
    """

    def __init__(
        self,
        dialect: str,
        slot: Slot,
        query: SearchQuery,
        terms: Sequence[Alternatives],
        *,
        limit: int,
        skip: int,
        after: Position | None,
    ) -> None:
        self._slot = slot
        self._terms = terms
        self._full_text = FULL_TEXT[dialect]
        self.is_relaxed = False
        self.parameters: dict[str, Any] = {
            "max_rows": limit,
            "skipped": skip if after is None else 0,
            "max_hits": FEW_HITS + 1,
        }
        self._filters, self._others = self._conditions(query)
        self._tiers = self._strict_tiers()
        self._after = after
        if after is not None:
            self.parameters |= dict(zip(_AFTER, after, strict=True))

    def hits(self) -> str:
        """Return the statement that selects the hits, unordered: facets, position, and whether each filter is met.

        It stops one hit after FEW_HITS.
        """
        return f"{self._source()} LIMIT :max_hits"

    def results_of(self, hits: Sequence[Any]) -> Results:
        """Return the results of a search with few hits."""
        is_met = {facet: place for place, facet in enumerate(self._filters, _FLAGS)}
        facets: dict[Facet, dict[str, int]] = {}
        for place, facet in enumerate(FACETS):
            flags = [flag for each, flag in is_met.items() if each != facet]
            counts = Counter(map(itemgetter(place), _meeting(hits, flags)))
            del counts[None]
            ordered = sorted(counts.items(), key=lambda counted: (-counted[1], counted[0]))
            facets[facet] = dict(ordered[:MAX_FACET_VALUES])
        positions = sorted(hit[len(FACETS) : _FLAGS] for hit in _meeting(hits, is_met.values()))
        first = self.parameters["skipped"] if self._after is None else bisect_right(positions, self._after)
        page = positions[first : first + self.parameters["max_rows"]]
        return Results([Position(*map(int, each)) for each in page], len(positions), facets)

    def summary(self) -> str:
        """Return the statement that selects the page, the number of results, and those of each value of each facet.

        It is one statement because a trip to the database costs more than most searches.
        """
        here = self._where(None)
        place = f"({_ORDER}) > (:{', :'.join(_AFTER)})"
        wanted = here if self._after is None else f"{here} AND {place}" if here else f" WHERE {place}"
        page = f"SELECT 'page' AS facet, NULL AS value, 0 AS number, {_ORDER} FROM hits{wanted} ORDER BY {_ORDER} LIMIT :max_rows OFFSET :skipped"
        parts = [f"SELECT * FROM ({page}) AS of_page", f"SELECT 'total', NULL, COUNT(*), 0, 0, 0, 0 FROM hits{here}"]
        zeros = "0 AS tier, 0 AS status_rank, 0 AS starts_at, 0 AS show_id"
        for facet in FACETS:
            grouped = f"SELECT '{facet}' AS facet, {facet} AS value, COUNT(*) AS number, {zeros} FROM hits{self._where(facet, f'{facet} IS NOT NULL')} GROUP BY {facet}"
            parts.append(
                f"SELECT * FROM ({grouped} ORDER BY number DESC, value LIMIT {MAX_FACET_VALUES}) AS of_{facet}"
            )
        return f"WITH hits AS {self._full_text.materialized} ({self._source()}) {' UNION ALL '.join(parts)}"

    def most_matched(self) -> str:
        """Return the statement that selects the largest number of terms that a show has."""
        return f"SELECT MAX(m.matched) FROM ({self._matched()}) AS m JOIN shows_{self._slot} s ON s.show_id = m.show_id WHERE {self._all()}"

    def _source(self) -> str:
        """Return SQL that selects the hits."""
        flags = [f"({condition}) AS is_{facet}" for facet, condition in self._filters.items()]
        columns = [*FACETS, f"{self._tier()} AS tier, status_rank, starts_at, s.show_id AS show_id", *flags]
        join = ""
        if self.is_relaxed:
            join = f" JOIN ({self._matched()}) AS m ON m.show_id = s.show_id AND m.matched = :most"
        elif self._terms:
            # Not `IN`: SQLite would first collect all ids.
            matching = self._full_text.matching(self._slot, f"tier_{max(self._tiers)}", FIELDS)
            join = f" JOIN ({matching}) AS t ON t.show_id = s.show_id"
        return f"SELECT {', '.join(columns)} FROM shows_{self._slot} s{join} WHERE {self._base()}"

    def _base(self) -> str:
        """Return the conditions without those of facets and terms."""
        return " AND ".join(self._others) or "1 = 1"

    def _all(self) -> str:
        return " AND ".join([self._base(), *self._filters.values()])

    def _where(self, facet: Facet | None, *more: str) -> str:
        conditions = [*(f"is_{each}" for each in self._filters if each != facet), *more]
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    def _tier(self) -> str:
        if self.is_relaxed:
            return f"{RELAXED} + m.matched - m.exact"
        *better, last = self._tiers or [0]
        if not better:
            return str(last)
        cases = " ".join(f"WHEN {self._matches(f'tier_{each}', self._tiers[each])} THEN {each}" for each in better)
        return f"CASE {cases} ELSE {last} END"

    def _strict_tiers(self) -> dict[int, Sequence[Field]]:
        """Return the fields of each tier, and set the parameters: exact in the name first, with typos in all fields last."""
        if not self._terms:
            return {}
        found: dict[int, Sequence[Field]] = {}
        has_typos = any(each.misspelled for each in self._terms)
        for is_typo in (False, True)[: 1 + has_typos]:
            terms = self._terms if is_typo else [each.exact for each in self._terms]
            for level in range(LEVELS):
                tier, fields = is_typo * LEVELS + level, FIELDS[: level + 1]
                found[tier] = fields
                self.parameters[f"tier_{tier}"] = self._full_text.expression(terms, fields)
        return found

    def _matched(self) -> str:
        """Return SQL with the number of terms of each show, and how many of them are exact."""
        parts = []
        for number, each in enumerate(self._terms):
            self.parameters[f"term_{number}"] = self._full_text.expression([each], FIELDS)
            matching = self._full_text.matching(self._slot, f"term_{number}", FIELDS)
            exact = "1"
            if each.misspelled:
                self.parameters[f"exact_{number}"] = self._full_text.expression([each.exact], FIELDS)
                exact = f"CASE WHEN t.show_id IN ({self._full_text.matching(self._slot, f'exact_{number}', FIELDS)}) THEN 1 ELSE 0 END"
            parts.append(f"SELECT t.show_id, {exact} AS is_exact FROM ({matching}) AS t")
        union = " UNION ALL ".join(parts)
        return f"SELECT u.show_id AS show_id, COUNT(*) AS matched, SUM(u.is_exact) AS exact FROM ({union}) AS u GROUP BY u.show_id"

    def _matches(self, parameter: str, fields: Sequence[Field]) -> str:
        return f"s.show_id IN ({self._full_text.matching(self._slot, parameter, fields)})"

    def _conditions(self, query: SearchQuery) -> tuple[dict[Facet, str], list[str]]:
        """Return the conditions by the facet whose counts ignore them, and the conditions that every facet uses."""
        filters: dict[Facet, str] = {}
        others: list[str] = []
        if query.status is not None:
            filters["status"] = self._compared("status = :of_status", of_status=query.status)
        if query.category_key is not None:
            filters["category"] = self._compared(
                "(category_key = :of_category AND category_key IS NOT NULL)", of_category=query.category_key
            )
        if query.venue:
            expression = self._full_text.expression([Alternatives(each) for each in query.venue], _VENUE)
            self.parameters["of_venue"] = expression
            filters["venue_name"] = self._matches("of_venue", _VENUE)
        bounds = [
            self._compared(f"{column} {operator} :{name}", **{name: value})
            for name, column, operator, value in (
                ("starts_from", "starts_at", ">=", query.starts_from),
                ("starts_before", "starts_at", "<", query.starts_before),
                ("first_date", "local_date", ">=", query.first_date),
                ("last_date", "local_date", "<=", query.last_date),
            )
            if value is not None
        ]
        if bounds:
            filters["month"] = f"({' AND '.join(bounds)})"
        if query.max_price is not None:
            others.append(self._compared("price_order <= :max_price", max_price=query.max_price))
        return filters, others

    def _compared(self, condition: str, **values: Any) -> str:
        self.parameters |= values
        return condition


def _meeting(hits: Sequence[Any], flags: Collection[int]) -> Sequence[Any]:
    """Return the hits that have all these flags."""
    return [hit for hit in hits if all(hit[flag] for flag in flags)] if flags else hits
