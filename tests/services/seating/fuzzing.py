"""A show and holds for the generated requests to seating."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.services.seating.support import open_seating

from portico.kit import UserId
from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing


@asynccontextmanager
async def open_for_fuzzing(databases: Databases, _folder: Path) -> AsyncIterator[Fuzzing]:
    """Run seating with a show and two holds of a user."""
    async with open_seating(databases) as seating:
        show_id, user = await seating.show(), UserId.new()
        holds = [await seating.given_hold(show_id, 1, user=user) for _ in range(2)]
        token = seating.run.issuer.token
        bearers = [
            token(user, permissions=["*"], lasting=10_000_000),
            token("service:bookings", permissions=["*"], lasting=10_000_000),
            None,
        ]
        known = {"event_id": [str(show_id)], "hold_id": [hold["hold_id"] for hold in holds]}
        yield Fuzzing(seating.run, bearers, known=known)
