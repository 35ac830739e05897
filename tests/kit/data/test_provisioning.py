import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool
from tests.kit.statements import run

from portico.cli.error_messages import user_message
from portico.kit.data.provisioning import DatabaseMissing, database_exists, ensure_database
from portico.kit.settings import Settings, database_for
from portico.testing.databases import Databases


def address_of(databases: Databases, name: str) -> URL:
    return database_for(Settings(database_url=databases.per_service()), name).url


@pytest.fixture
async def limited(server_databases: Databases) -> AsyncIterator[URL]:
    """Return the address of a database that the account may not create."""
    administrator = make_url(server_databases.fresh("elsewhere"))
    administrator = administrator.set(drivername=address_of(server_databases, "x").drivername)
    name = f"limited_{uuid4().hex[:8]}"
    if server_databases.dialect == "postgresql":
        await run(administrator, f"CREATE ROLE {name} LOGIN PASSWORD 'as good as any'")
    else:
        await run(administrator, f"CREATE USER {name} IDENTIFIED BY 'as good as any'")
    yield address_of(server_databases, "shop").set(username=name, password="as good as any")
    await run(administrator, f"DROP {'ROLE' if server_databases.dialect == 'postgresql' else 'USER'} {name}")


async def waits_for_a_lock(connection: AsyncConnection) -> None:
    """Return when a session of this database waits for another's transaction."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while not (await connection.execute(waiting)).scalar():
        await connection.commit()  # the view shows the same snapshot throughout a transaction


class TestEnsureDatabase:
    async def test_creates_a_database_once(self, databases: Databases) -> None:
        address = address_of(databases, "shop")
        assert not await database_exists(address)

        await ensure_database(address, None)
        await ensure_database(address, None)

        assert await database_exists(address)

    async def test_a_schema_that_another_process_creates_concurrently_is_used(
        self, postgresql_databases: Databases
    ) -> None:
        address = make_url(postgresql_databases.fresh("shop")).set(drivername="postgresql+asyncpg")
        engine = create_async_engine(address, poolclass=NullPool)
        async with engine.connect() as other, engine.connect() as observer:
            await other.execute(text("CREATE SCHEMA orders"))
            making = asyncio.create_task(ensure_database(address, "orders"))
            await waits_for_a_lock(observer)
            await other.commit()

            await asyncio.wait({making})

        assert making.exception() is None

    async def test_an_account_without_the_right_is_given_the_statements(self, limited: URL) -> None:
        with pytest.raises(DatabaseMissing) as caught:
            await ensure_database(limited, None)

        raised = user_message(caught.value)
        assert raised is not None
        assert "CREATE DATABASE " in (raised[1] or "")
        assert str(limited.username) in (raised[1] or "")
        assert "as good as any" not in str(raised)
