"""Shows for the generated requests to events."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.services.events.support import open_events

from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing


@asynccontextmanager
async def open_for_fuzzing(databases: Databases, _folder: Path) -> AsyncIterator[Fuzzing]:
    """Run events with a few shows."""
    async with open_events(databases) as events:
        shows = [await events.create(), await events.create(status="ON_SALE", category="Rock")]
        token = events.run.issuer.token
        bearers = [
            token(permissions=["*"], lasting=10_000_000),
            token("service:seating", permissions=["*"], lasting=10_000_000),
            None,
        ]
        yield Fuzzing(events.run, bearers, known={"event_id": [str(each["event_id"]) for each in shows]})
