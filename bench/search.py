"""Search among 100,000 shows, compared with bare FTS5 on SQLite and, with a typo, with `pg_trgm` on PostgreSQL.

Run it with `python bench/search.py`; it takes some minutes. Rounds are interleaved: compare the ratios. Bare FTS5 is
one statement by the same driver that orders by relevance. The index also finds typos and counts results and facets.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import text

from portico.contracts.events import ShowId
from portico.servers import PostgreSQLServer
from portico.services.search import service
from portico.services.search.document import Document
from portico.services.search.domain import Term
from portico.services.search.index.base import SearchQuery, ShowIndex
from portico.testing.databases import Databases, ServerDatabases, SQLiteDatabases
from portico.testing.running_service import RunningService, run_service

SHOWS = 100_000
BATCH = 1_000
ROUNDS = 5
QUERIES = 40
SYLLABLES = [
    "ba",
    "be",
    "bo",
    "da",
    "de",
    "di",
    "fa",
    "fi",
    "go",
    "ha",
    "ka",
    "ke",
    "la",
    "le",
    "lo",
    "ma",
    "me",
    "mi",
    "na",
    "ne",
    "no",
    "pa",
    "ra",
    "re",
    "ri",
    "sa",
    "se",
    "so",
    "ta",
    "te",
    "to",
    "va",
    "vi",
    "wa",
    "za",
]

Search = Callable[[Sequence[str]], Awaitable[Any]]


def vocabulary(chance: random.Random, size: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < size:
        found["".join(chance.choices(SYLLABLES, k=chance.randint(2, 5)))] = None
    return list(found)


def documents(chance: random.Random) -> list[Document]:
    words = vocabulary(chance, 20_000)
    weights = list(accumulate(1 / (place + 10) for place in range(len(words))))
    venues = [" ".join(chance.sample(words, 2)) for _ in range(500)]
    start = datetime(2027, 1, 1, tzinfo=UTC)

    def sentence(count: int) -> str:
        return " ".join(chance.choices(words, cum_weights=weights, k=count))

    return [
        Document(
            event_id=ShowId(number),
            event_name=sentence(3),
            event_date=start + timedelta(hours=number % 9_000),
            venue_name=chance.choice(venues),
            time_zone="UTC",
            status=chance.choice(("ON_SALE", "UPCOMING", "SOLD_OUT")),
            price=Decimal(number % 200),
            currency="USD",
            category=f"Category {number % 12}",
            description=sentence(20),
        )
        for number in range(1, SHOWS + 1)
    ]


async def load(run: RunningService, shows: Sequence[Document]) -> ShowIndex:
    index: ShowIndex = run.context.resource(ShowIndex)  # type: ignore[type-abstract]
    for start in range(0, len(shows), BATCH):
        batch = shows[start : start + BATCH]
        async with run.context.transaction() as work:
            await index.write(work, "a", batch, [1] * len(batch))
    if run.context.database.dialect == "postgresql":
        async with run.context.transaction() as work:
            await work.execute(text("ANALYZE"))
    return index


def searcher(run: RunningService, index: ShowIndex) -> Search:
    async def search(words: Sequence[str]) -> Any:
        async with run.context.reader() as reader:
            return await index.search(reader, "a", SearchQuery(terms=tuple(Term((each,)) for each in words)), limit=20)

    return search


def bare_fts5(run: RunningService) -> Search:
    statement: Any = text("SELECT rowid FROM texts_a WHERE texts_a MATCH :words ORDER BY rank LIMIT 20")

    async def search(words: Sequence[str]) -> Any:
        async with run.context.reader() as reader:
            return await reader.rows(statement, {"words": " AND ".join(f'"{each}"' for each in words)})

    return search


async def pg_trgm(url: str, shows: Sequence[Document]) -> Search:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE EXTENSION pg_trgm")
    await connection.execute("CREATE TABLE plain_shows (id BIGINT PRIMARY KEY, words TEXT NOT NULL)")
    rows = [(int(each.event_id), f"{each.event_name} {each.venue_name} {each.description}") for each in shows]
    await connection.copy_records_to_table("plain_shows", records=rows)
    await connection.execute("CREATE INDEX ON plain_shows USING gin (words gin_trgm_ops)")
    await connection.execute("ANALYZE plain_shows")
    await connection.execute("SET pg_trgm.word_similarity_threshold = 0.5")
    statement = "SELECT id FROM plain_shows WHERE $1 <% words ORDER BY word_similarity($1, words) DESC, id LIMIT 20"

    async def search(words: Sequence[str]) -> Any:
        return await connection.fetch(statement, " ".join(words))

    return search


async def measured(search: Search, queries: Sequence[Sequence[str]]) -> float:
    """Return the median time of the queries in milliseconds."""
    times = []
    for words in queries:
        began = time.perf_counter()
        await search(words)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


async def compare(title: str, ours: Search, peer: Search, queries: Sequence[Sequence[str]]) -> None:
    rounds = [(await measured(ours, queries), await measured(peer, queries)) for _ in range(ROUNDS)]
    own, other = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"| {title} | {own:.2f} | {other:.2f} | {own / other:.2f} | {other / own:.1f} |")


def swapped(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word) - 1)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


async def main() -> None:
    chance = random.Random(7)  # the same shows in each run
    shows = documents(chance)
    chosen = chance.sample(shows, QUERIES)
    single = [[chance.choice(show.event_name.split())] for show in chosen]
    double = [show.event_name.split()[:2] for show in chosen]
    long_words = [word for show in shows[:2_000] for word in show.event_name.split() if len(word) > 6]
    typos = [[swapped(word, chance)] for word in chance.sample(long_words, QUERIES)]
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(PostgreSQLServer())
        on_sqlite: Databases = SQLiteDatabases(folder / "databases")
        on_server: Databases = ServerDatabases(server, prefix="bench_")
        embedded = await stack.enter_async_context(run_service(service, on_sqlite, background=False))
        served = await stack.enter_async_context(run_service(service, on_server, background=False))
        began = time.perf_counter()
        ours = searcher(embedded, await load(embedded, shows))
        print(f"Indexed {SHOWS:,} shows in SQLite in {time.perf_counter() - began:.0f} s.\n", file=sys.stderr)
        began = time.perf_counter()
        on_postgresql = searcher(served, await load(served, shows))
        print(f"Indexed {SHOWS:,} shows in PostgreSQL in {time.perf_counter() - began:.0f} s.\n", file=sys.stderr)
        fts5 = bare_fts5(embedded)
        trigrams = await pg_trgm(server.create_database("trigrams"), shows)
        print("| median of a search | ours, ms | peer, ms | ours / peer | times as fast |\n|---|---|---|---|---|")
        await compare("a word, SQLite, beside bare FTS5", ours, fts5, single)
        await compare("two words of a name, SQLite, beside bare FTS5", ours, fts5, double)
        await compare("a word with a swap, PostgreSQL, beside pg_trgm", on_postgresql, trigrams, typos)
        await compare("a word with a swap, SQLite, beside pg_trgm", ours, trigrams, typos)


if __name__ == "__main__":
    asyncio.run(main())
