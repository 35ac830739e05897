"""The index in the service's own database: SQLite FTS5, PostgreSQL text search, or FULLTEXT of MySQL and MariaDB."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import TextClause, bindparam, delete, func, insert, select, text

from portico.contracts.events import ShowId
from portico.kit import Reader, UnitOfWork
from portico.kit.data import Statement, insert_or_ignore
from portico.services.search.document import Document
from portico.services.search.domain import (
    FIELDS,
    LEVELS,
    RELAXED,
    Field,
    Term,
    indexed_typo_keys,
    nearest_words,
    typo_keys,
)
from portico.services.search.index.base import (
    FACETS,
    MOST_FACET_VALUES,
    Digest,
    Facet,
    Position,
    Results,
    SearchQuery,
)
from portico.services.search.index.full_text import FULL_TEXT, Alternatives
from portico.services.search.models import SHOWS, SLOTS, TYPO_KEYS, WORDS, Slot

_PARAMETER = re.compile(r":(\w+)")
_BATCH: Final = 500  # values of one IN
_VENUE: Final[tuple[Field, ...]] = ("venue_name",)
_ORDER: Final = "tier, standing, starts_at, show_id"
_AFTER: Final = ("after_tier", "after_standing", "after_start", "after_show")
_LOOKUP_SIZES: Final = (32, 128, _BATCH)


def _lookup(slot: Slot, size: int) -> Statement:
    """Return the statement for the words with one of `size` typo keys. It is compiled once, unlike one for any number."""
    table = TYPO_KEYS[slot]
    keys = [bindparam(f"key_{place}", type_=table.c.typo_key.type) for place in range(size)]
    return Statement(select(table.c.word).where(table.c.typo_key.in_(keys)))


_LOOKUPS: Final = {(slot, size): _lookup(slot, size) for slot in SLOTS for size in _LOOKUP_SIZES}


class SqlIndex:
    """Finds shows with the full-text search of a database; words with typos by their keys.

    Args:
        dialect: the name of the database's dialect.
    """

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._full_text = FULL_TEXT[dialect]

    async def write(
        self,
        work: UnitOfWork,
        slot: Slot,
        documents: Sequence[Document],
        revisions: Sequence[int],  # noqa: ARG002  # rows are locked: documents are written in order
    ) -> None:
        ids = [{"show_id": int(each.event_id)} for each in documents]
        await self._delete(work, slot, ids)
        await work.execute(insert(SHOWS[slot]), [each.row for each in documents])
        values = [{**key, **self._full_text.values(each.texts)} for key, each in zip(ids, documents, strict=True)]
        await work.execute(text(self._full_text.insert.format(slot=slot)), values)
        await self._add_words(work, slot, {token.word for each in documents for token in _tokens(each)})

    async def remove(self, work: UnitOfWork, slot: Slot, show_id: ShowId, revision: int) -> None:  # noqa: ARG002  # as in `write`
        await self._delete(work, slot, [{"show_id": int(show_id)}])

    async def clear(self, work: UnitOfWork, slot: Slot) -> None:
        for table in (SHOWS[slot], WORDS[slot], TYPO_KEYS[slot]):
            await work.execute(delete(table))
        await work.execute(text(self._full_text.clear.format(slot=slot)))

    async def digest(self, work: UnitOfWork, slot: Slot) -> Digest:
        shows = SHOWS[slot]
        statement = select(func.count(), func.coalesce(func.sum(shows.c.fingerprint), 0)).select_from(shows)
        row: Any = (await work.execute(statement)).one()
        return Digest(int(row[0]), int(row[1]))

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
        if query.terms == ():
            return Results([], 0)
        terms = await self._alternatives(reader, slot, query.terms or ())
        statement = _Search(self._dialect, slot, query, terms, limit=limit, skip=skip, after=after)
        results = _results(await _rows(reader, statement.text(), statement.parameters))
        if not results.total and len(terms) > 1 and await self._relax(reader, statement):
            results = _results(await _rows(reader, statement.text(), statement.parameters))
        return replace(results, is_relaxed=statement.is_relaxed and results.total > 0)

    async def _relax(self, reader: Reader, statement: "_Search") -> bool:
        """Let the statement find the shows with the most terms. Return whether any show has one."""
        statement.is_relaxed = True
        [(most,)] = await _rows(reader, statement.most_matched(), statement.parameters)
        statement.parameters["most"] = most = int(most or 0)
        return most > 0

    async def _delete(self, work: UnitOfWork, slot: Slot, ids: Sequence[Mapping[str, int]]) -> None:
        shows = SHOWS[slot]
        await work.execute(delete(shows).where(shows.c.show_id.in_([each["show_id"] for each in ids])))
        await work.execute(text(self._full_text.delete.format(slot=slot)), list(ids))

    async def _add_words(self, work: UnitOfWork, slot: Slot, words: set[str]) -> None:
        """Store the words that the slot does not have yet, in order: two transactions that add words do not deadlock."""
        table = WORDS[slot]
        known: set[str] = set()
        for batch in _batches(sorted(words)):
            known.update((await work.execute(select(table.c.word).where(table.c.word.in_(batch)))).scalars())
        if missing := sorted(words - known):
            keys = [{"typo_key": key, "word": word} for word in missing for key in sorted(indexed_typo_keys(word))]
            await work.execute(insert_or_ignore(table, self._dialect), [{"word": word} for word in missing])
            if keys:
                await work.execute(insert_or_ignore(TYPO_KEYS[slot], self._dialect), keys)

    async def _alternatives(self, reader: Reader, slot: Slot, terms: Sequence[Term]) -> list[Alternatives]:
        keys = {key for term in terms if term.typos for key in typo_keys(term.words[0], term.typos)}
        if not keys:
            return [Alternatives(term) for term in terms]
        candidates: set[str] = set()
        for batch in _batches(sorted(keys)):
            size = next(each for each in _LOOKUP_SIZES if each >= len(batch))
            values = {f"key_{place}": batch[min(place, len(batch) - 1)] for place in range(size)}
            candidates.update(row.word for row in await reader.rows(_LOOKUPS[slot, size], values))
        return [Alternatives(term, nearest_words(term, candidates) if term.typos else ()) for term in terms]


class _Search:
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
        self.parameters: dict[str, Any] = {"most_rows": limit, "skipped": skip if after is None else 0}
        self._filters, self._others = self._conditions(query)
        self._tiers = self._strict_tiers()
        self._after = after
        if after is not None:
            self.parameters |= dict(zip(_AFTER, after, strict=True))

    def text(self) -> str:
        """Return the statement that selects the page, the number of results, and those of each value of each facet.

        It is one statement because a trip to the database costs more than most searches.
        """
        flags = [f"({condition}) AS is_{facet}" for facet, condition in self._filters.items()]
        columns = [
            "status, category, venue_name, month",
            *flags,
            f"{self._tier()} AS tier, standing, starts_at, s.show_id AS show_id",
        ]
        here = self._where(None)
        place = f"({_ORDER}) > (:{', :'.join(_AFTER)})"
        wanted = here if self._after is None else f"{here} AND {place}" if here else f" WHERE {place}"
        page = f"SELECT 'page' AS facet, NULL AS value, 0 AS number, {_ORDER} FROM hits{wanted} ORDER BY {_ORDER} LIMIT :most_rows OFFSET :skipped"
        parts = [f"SELECT * FROM ({page}) AS of_page", f"SELECT 'total', NULL, COUNT(*), 0, 0, 0, 0 FROM hits{here}"]
        zeros = "0 AS tier, 0 AS standing, 0 AS starts_at, 0 AS show_id"
        for facet in FACETS:
            grouped = f"SELECT '{facet}' AS facet, {facet} AS value, COUNT(*) AS number, {zeros} FROM hits{self._where(facet)} GROUP BY {facet}"
            parts.append(
                f"SELECT * FROM ({grouped} ORDER BY number DESC, value LIMIT {MOST_FACET_VALUES}) AS of_{facet}"
            )
        source = self._source(", ".join(columns))
        return f"WITH hits AS {self._full_text.materialized} ({source}) {' UNION ALL '.join(parts)}"

    def most_matched(self) -> str:
        """Return the statement that selects the largest number of terms that a show has."""
        return f"SELECT MAX(m.matched) FROM ({self._matched()}) AS m JOIN shows_{self._slot} s ON s.show_id = m.show_id WHERE {self._all()}"

    def _source(self, columns: str) -> str:
        if self.is_relaxed:
            join = f" JOIN ({self._matched()}) AS m ON m.show_id = s.show_id AND m.matched = :most"
            return f"SELECT {columns} FROM shows_{self._slot} s{join} WHERE {self._base()}"
        return f"SELECT {columns} FROM shows_{self._slot} s WHERE {self._base()}"

    def _base(self) -> str:
        """Return the conditions without those of facets."""
        conditions = list(self._others)
        if self._terms and not self.is_relaxed:
            conditions.append(self._matches(f"tier_{max(self._tiers)}", FIELDS))
        return " AND ".join(conditions) or "1 = 1"

    def _all(self) -> str:
        return " AND ".join([self._base(), *self._filters.values()])

    def _where(self, facet: Facet | None) -> str:
        conditions = [f"is_{each}" for each in self._filters if each != facet]
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
        """Return the conditions by the facet that does not count with them, and those without a facet."""
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


def _results(rows: Iterable[Any]) -> Results:
    total = 0
    positions: list[Position] = []
    facets: dict[Facet, dict[str, int]] = {facet: {} for facet in FACETS}
    for kind, value, number, *position in rows:
        if kind == "page":
            positions.append(Position(*map(int, position)))
        elif kind == "total":
            total = int(number)
        elif value is not None and number:
            facets[kind][value] = int(number)
    return Results(sorted(positions), total, facets)


async def _rows(reader: Reader, statement: str, values: Mapping[str, Any]) -> Sequence[Any]:
    prepared, names = _prepared(statement)
    return await reader.rows(prepared, {name: values[name] for name in names})  # type: ignore[arg-type]  # executed like a select


@lru_cache(256)
def _prepared(statement: str) -> tuple[TextClause, frozenset[str]]:
    """Return a statement and the names of its parameters. Searches of the same shape have the same statement."""
    return text(statement), frozenset(_PARAMETER.findall(statement))


def _tokens(document: Document) -> Iterable[Any]:
    return (token for field in FIELDS for token in document.texts.tokens[field])


def _batches(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))
