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
from portico.services.search.domain import FIELDS, Term, indexed_typo_keys, nearest_words, typo_keys
from portico.services.search.index.base import FACETS, Digest, Facet, Position, Results, SearchQuery
from portico.services.search.index.full_text import FULL_TEXT, Alternatives
from portico.services.search.index.statements import SearchStatements
from portico.services.search.models import SHOWS, SLOTS, TYPO_KEYS, WORDS, Slot

_PARAMETER = re.compile(r":(\w+)")
_BATCH: Final = 500  # values of one IN
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
        statements = SearchStatements(self._dialect, slot, query, terms, limit=limit, skip=skip, after=after)
        results = await self._results(reader, statements)
        if not results.total and len(terms) > 1 and await self._relax(reader, statements):
            results = await self._results(reader, statements)
        return replace(results, is_relaxed=statements.is_relaxed and results.total > 0)

    async def _results(self, reader: Reader, statements: SearchStatements) -> Results:
        """Return the results. The database groups slowly: few hits are counted and ordered here, many there."""
        hits = await _rows(reader, statements.hits(), statements.parameters)
        if len(hits) < statements.parameters["max_hits"]:
            return statements.results_of(hits)
        return _of_summary(await _rows(reader, statements.summary(), statements.parameters))

    async def _relax(self, reader: Reader, statements: SearchStatements) -> bool:
        """Let the statements find the shows with the most terms. Return whether any show has one."""
        statements.is_relaxed = True
        [(most,)] = await _rows(reader, statements.most_matched(), statements.parameters)
        statements.parameters["most"] = most = int(most or 0)
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


def _of_summary(rows: Iterable[Any]) -> Results:
    total = 0
    positions: list[Position] = []
    facets: dict[Facet, dict[str, int]] = {facet: {} for facet in FACETS}
    for kind, value, number, *position in rows:
        if kind == "page":
            positions.append(Position(*map(int, position)))
        elif kind == "total":
            total = int(number)
        elif number:
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
