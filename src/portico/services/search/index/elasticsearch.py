"""The index in Elasticsearch or OpenSearch, over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp
import orjson

from portico.contracts.events import ShowId
from portico.kit import Reader, UnitOfWork, get_logger
from portico.services.search.document import Document
from portico.services.search.domain import FIELDS, LEVELS, RELAXED, Term
from portico.services.search.errors import IndexUnavailable
from portico.services.search.index.base import (
    FACETS,
    MAX_FACET_VALUES,
    Counts,
    Digest,
    Facet,
    Position,
    Results,
    SearchQuery,
)
from portico.services.search.models import Slot

logger = get_logger(__name__)

_Query = dict[str, Any]

_NOT_FOUND = 404
_OUTDATED = 409  # the index has the same or a newer version
_MAX_DEPTH: Final = 1_100_000  # results that a numbered page can reach
_LEVEL_FIELDS: Final = ("words_name", "words_name_venue", "words_all")
"""The fields of each level. Words are copied to the wider ones, so that a term is one clause."""
_WORDS: Final = {"type": "text", "analyzer": "whitespace", "norms": False}
_TEXTS: Final[Mapping[str, Any]] = {
    "words_name": {**_WORDS, "copy_to": ["words_name_venue", "words_all"]},
    "words_venue": {**_WORDS, "copy_to": ["words_name_venue", "words_all"]},
    "words_description": {**_WORDS, "copy_to": ["words_all"]},
    "words_name_venue": _WORDS,
    "words_all": _WORDS,
}
_KEYWORDS: Final = ("status", "category", "category_key", "venue_name", "month", "local_date")
_NUMBERS: Final = ("show_id", "fingerprint", "status_rank", "starts_at", "price_order")
_DEFINITION: Final = {
    "settings": {"index": {"max_result_window": _MAX_DEPTH}},
    "mappings": {
        "dynamic": False,
        "properties": {
            **_TEXTS,
            **{name: {"type": "keyword"} for name in _KEYWORDS},
            **{name: {"type": "long"} for name in _NUMBERS},
        },
    },
}


class ElasticsearchIndex:
    """Finds shows with a cluster. Each slot is an index there; the version of a document is the show's revision.

    A change is sent before its transaction commits. If the commit fails, the event is handled again, and a version that
    the index has already has no effect.

    Args:
        url: address of the cluster, with the account.
        name: beginning of the names of the indexes.
        timeout: time limit of a request (seconds).
    """

    def __init__(self, url: str, *, name: str, timeout: float) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self._origin = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._auth = (
            aiohttp.BasicAuth(unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        )
        self._name = name.lower()
        self._timeout = aiohttp.ClientTimeout(timeout)
        self._session: aiohttp.ClientSession | None = None
        self._created: set[Slot] = set()

    async def write(
        self,
        work: UnitOfWork,  # noqa: ARG002  # the cluster has no transactions
        slot: Slot,
        documents: Sequence[Document],
        revisions: Sequence[int],
    ) -> None:
        await self._create(slot)
        lines: list[bytes] = []
        for document, revision in zip(documents, revisions, strict=True):
            action = {"_id": str(document.event_id), "version": revision, "version_type": "external_gte"}
            lines += [orjson.dumps({"index": action}), orjson.dumps(_source(document))]
        answer = await self._send("POST", f"{self._path(slot)}/_bulk", b"\n".join(lines) + b"\n")
        failed = [
            each for item in answer["items"] for each in item.values() if each["status"] not in {200, 201, _OUTDATED}
        ]
        if failed:
            logger.error("elasticsearch_refused", status=failed[0]["status"], reason=failed[0]["error"]["type"])
            raise IndexUnavailable

    async def remove(self, work: UnitOfWork, slot: Slot, show_id: ShowId, revision: int) -> None:  # noqa: ARG002  # as in `write`
        path = f"{self._path(slot)}/_doc/{show_id}?version={revision}&version_type=external_gte"
        await self._send("DELETE", path, accepted=(_NOT_FOUND, _OUTDATED))

    async def clear(self, work: UnitOfWork, slot: Slot) -> None:  # noqa: ARG002  # as in `write`
        await self._send("DELETE", self._path(slot), accepted=(_NOT_FOUND,))
        self._created.discard(slot)
        await self._create(slot)

    async def digest(self, work: UnitOfWork, slot: Slot) -> Digest:  # noqa: ARG002  # as in `write`
        await self._create(slot)
        await self._send("POST", f"{self._path(slot)}/_refresh")
        body = {"size": 0, "track_total_hits": True, "aggs": {"sum": {"sum": {"field": "fingerprint"}}}}
        answer = await self._send("POST", f"{self._path(slot)}/_search", orjson.dumps(body))
        return Digest(answer["hits"]["total"]["value"], int(answer["aggregations"]["sum"]["value"]))

    async def search(
        self,
        reader: Reader,  # noqa: ARG002  # other indexes are in the database
        slot: Slot,
        query: SearchQuery,
        *,
        limit: int,
        skip: int = 0,
        after: Position | None = None,
    ) -> Results:
        if query.terms == ():
            return Results([], 0)
        filters, others = _filters(query)
        terms = query.terms or ()
        request = _Request(filters, others, limit=limit, skip=skip, after=after)
        results = await self._results(slot, request.body(_strict(terms), best=RELAXED), best=RELAXED)
        if results.total or len(terms) < 2:  # noqa: PLR2004  # one term has no part
            return results
        counted = {
            "size": 1,
            "_source": False,
            "query": {"bool": {**_counting(terms), "filter": [*others, *filters.values()]}},
        }
        hits = (await self._search(slot, counted))["hits"]["hits"]
        if not hits:
            return results
        most = round(hits[0]["_score"])
        best = RELAXED + most
        relaxed = await self._results(slot, request.body(_relaxed(terms, most), best=best), best=best)
        return Results(relaxed.positions, relaxed.total, relaxed.facets, is_relaxed=True)

    async def check(self) -> None:
        """Check that the cluster responds. Raises IndexUnavailable."""
        await self._send("GET", "/")

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _results(self, slot: Slot, body: _Query, *, best: int) -> Results:
        answer = await self._search(slot, body)
        positions = [_position(hit["sort"], best) for hit in answer["hits"]["hits"]]
        facets: Counts = {facet: _values(answer.get("aggregations", {}), facet) for facet in FACETS}
        return Results(positions, answer["hits"]["total"]["value"], facets)

    async def _search(self, slot: Slot, body: _Query) -> Any:
        return await self._send("POST", f"{self._path(slot)}/_search?ignore_unavailable=true", orjson.dumps(body))

    async def _create(self, slot: Slot) -> None:
        """Create the index of a slot unless it exists: an index that a write creates would have other fields."""
        if slot not in self._created:
            exists = 400  # resource_already_exists_exception
            await self._send("PUT", self._path(slot), orjson.dumps(_DEFINITION), accepted=(exists,))
            self._created.add(slot)

    def _path(self, slot: Slot) -> str:
        return f"/{self._name}-shows-{slot}"

    async def _send(self, method: str, path: str, body: bytes = b"", *, accepted: Sequence[int] = ()) -> Any:
        """Send a request and return the JSON of the response. Raises IndexUnavailable for a status not `accepted`."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, auth=self._auth, trust_env=False)
        headers = {"content-type": "application/x-ndjson" if path.endswith("/_bulk") else "application/json"}
        try:
            async with self._session.request(
                method, self._origin + path, data=body or None, headers=headers, allow_redirects=False
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise IndexUnavailable from error
        if not 200 <= response.status < 300 and response.status not in accepted:  # noqa: PLR2004  # RFC 9110 section 15
            logger.error("elasticsearch_refused", status=response.status, reason=method)
            raise IndexUnavailable
        return orjson.loads(content)


class _Request:
    """The part of a search that does not depend on its terms."""

    def __init__(
        self,
        filters: Mapping[Facet, _Query],
        others: Sequence[_Query],
        *,
        limit: int,
        skip: int,
        after: Position | None,
    ) -> None:
        self._filters = filters
        self._others = others
        self._limit = limit
        self._skip = skip if after is None else 0
        self._after = after

    def body(self, scoring: _Query, *, best: int) -> _Query:
        """Return the request; the score of a result is `best` minus its tier."""
        body: _Query = {
            "size": self._limit,
            "from": self._skip,
            "_source": False,
            "track_total_hits": True,
            "query": {"bool": {"must": [scoring], "filter": list(self._others)}},
            "post_filter": _all(self._filters.values()),
            "sort": [{"_score": "desc"}, {"status_rank": "asc"}, {"starts_at": "asc"}, {"show_id": "asc"}],
            "aggs": {facet: self._facet(facet) for facet in FACETS},
        }
        if self._after is not None:
            body["search_after"] = [best - self._after.tier, *self._after[1:]]
        return body

    def _facet(self, facet: Facet) -> _Query:
        others = [condition for each, condition in self._filters.items() if each != facet]
        values = {"terms": {"field": facet, "size": MAX_FACET_VALUES}}
        return {"filter": _all(others), "aggs": {"values": values}}


def _source(document: Document) -> dict[str, Any]:
    words = {field: " ".join(each.word for each in document.texts.tokens[field]) for field in FIELDS}
    return {
        **document.row,
        "words_name": words["event_name"],
        "words_venue": words["venue_name"],
        "words_description": words["description"],
    }


def _strict(terms: Sequence[Term]) -> _Query:
    """Return the query for shows with all terms. Its score is RELAXED minus the tier."""
    if not terms:
        return _scored({"match_all": {}}, RELAXED)
    has_typos = any(term.typos for term in terms)
    tiers = [
        _scored(_all(_matches(term, field, is_typo=is_typo) for term in terms), RELAXED - is_typo * LEVELS - level)
        for is_typo in (False, True)[: 1 + has_typos]
        for level, field in enumerate(_LEVEL_FIELDS)
    ]
    return {"dis_max": {"queries": tiers}}


def _counting(terms: Sequence[Term]) -> _Query:
    """Return the clauses whose score is the number of terms that a show has: at least one."""
    each = [_scored(_matches(term, _LEVEL_FIELDS[-1], is_typo=True), 1) for term in terms]
    return {"should": each, "minimum_should_match": 1}


def _relaxed(terms: Sequence[Term], most: int) -> _Query:
    """Return the query for shows with `most` of the terms. Its score is the number of exact ones."""
    matched = [_matches(term, _LEVEL_FIELDS[-1], is_typo=True) for term in terms]
    exact = [_scored(_matches(term, _LEVEL_FIELDS[-1], is_typo=False), 1) for term in terms]
    return {"bool": {"filter": [{"bool": {"should": matched, "minimum_should_match": most}}], "should": exact}}


def _matches(term: Term, field: str, *, is_typo: bool) -> _Query:
    if len(term.words) > 1:
        return {"match_phrase": {field: term.text}}
    [word] = term.words
    exact: _Query = {"prefix": {field: word}} if term.is_prefix else {"term": {field: word}}
    if not is_typo or not term.typos:
        return exact
    fuzzy = {"value": word, "fuzziness": term.typos, "prefix_length": 1, "rewrite": "constant_score"}
    return {"bool": {"should": [exact, {"fuzzy": {field: fuzzy}}]}}


def _scored(query: _Query, points: int) -> _Query:
    return {"constant_score": {"filter": query, "boost": points}}


def _all(queries: Any) -> _Query:
    return {"bool": {"filter": list(queries)}}


def _filters(query: SearchQuery) -> tuple[dict[Facet, _Query], list[_Query]]:
    """Return the conditions by the facet that does not count with them, and those without a facet."""
    filters: dict[Facet, _Query] = {}
    if query.status is not None:
        filters["status"] = {"term": {"status": query.status}}
    if query.category_key is not None:
        filters["category"] = {"term": {"category_key": query.category_key}}
    if query.venue:
        filters["venue_name"] = _all(_matches(term, "words_venue", is_typo=False) for term in query.venue)
    bounds = [
        {"range": {field: {operator: value}}}
        for field, operator, value in (
            ("starts_at", "gte", query.starts_from),
            ("starts_at", "lt", query.starts_before),
            ("local_date", "gte", query.first_date),
            ("local_date", "lte", query.last_date),
        )
        if value is not None
    ]
    if bounds:
        filters["month"] = _all(bounds)
    others = [] if query.max_price is None else [{"range": {"price_order": {"lte": query.max_price}}}]
    return filters, others


def _position(values: Sequence[Any], best: int) -> Position:
    score, status_rank, starts_at, show_id = values
    return Position(best - round(score), status_rank, starts_at, show_id)


def _values(aggregations: Mapping[str, Any], facet: Facet) -> dict[str, int]:
    buckets = aggregations.get(facet, {}).get("values", {}).get("buckets", ())
    return {each["key"]: each["doc_count"] for each in buckets}
