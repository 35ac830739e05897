"""A user with many ended sessions: they cost nothing when the open ones are read."""

from datetime import timedelta

from sqlalchemy import insert, text
from tests.services.identity.accounts import SYSTEM, VARIABLES, Identity
from tests.support.query_plans import QueryPlans

from portico.contracts.identity import SessionId
from portico.services.identity import service
from portico.services.identity.models import Session
from portico.services.identity.repository import Sessions
from portico.testing.databases import Databases
from portico.testing.running_service import run_service

ENDED = 2000


async def test_only_open_sessions_are_read(postgresql_databases: Databases) -> None:
    async with run_service(service, postgresql_databases, variables=VARIABLES, system=SYSTEM) as run:
        ada = await Identity(run).new_person()
        now = run.clock.now()
        async with run.context.transaction() as work:
            ended = {
                "user_id": ada.user_id,
                "device": "tablet/1.0",
                "address": "192.0.2.7",
                "created_at": now,
                "last_used_at": now,
                "expires_at": now + timedelta(days=30),
                "tokens_expire_at": now,
                "ended_at": now,
            }
            await work.execute(insert(Session), [{**ended, "session_id": SessionId.new()} for _ in range(ENDED)])
        async with run.context.database.writer.connect() as connection:
            await connection.execute(text("ANALYZE"))
        plans = QueryPlans(run.context.database)

        listed = await ada.get("/auth/sessions")
        of_list = await plans.max_rows_read("sessions")
        async with run.context.reader() as reader:
            await Sessions(reader).last_token_expiry(ada.user_id)

        assert len(listed.json()) == 1
        assert of_list <= 2
        assert await plans.max_rows_read("sessions") <= 2
