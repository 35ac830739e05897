"""Callers for the generated requests to identity."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.services.identity.accounts import SYSTEM, VARIABLES, Identity

from portico.services.identity import service
from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing
from portico.testing.running_service import run_service

ENDS_SESSIONS = frozenset({"/auth/logout", "/auth/me/password", "/auth/sessions/{session_id}"})


@asynccontextmanager
async def open_for_fuzzing(databases: Databases, _folder: Path) -> AsyncIterator[Fuzzing]:
    """Run identity with an administrator, a user and a service that are signed in."""
    async with run_service(service, databases, variables=VARIABLES, system=SYSTEM) as run:
        identity = Identity(run)
        administrator, person = await identity.administrator(), await identity.new_person()
        caller = await identity.as_service()
        bearers = [
            administrator.access_token,
            person.access_token,
            caller.headers["authorization"].removeprefix("Bearer "),
            None,
        ]
        yield Fuzzing(run, bearers, known={"user_id": [person.user_id]}, last=ENDS_SESSIONS)
