"""Uses of SQLAlchemy below its public API."""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.util import await_only, greenlet_spawn

ASYNCPG_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection ended at the moment in which a statement was sent
    AsyncAdapt_asyncpg_dbapi.Error,  # the pool wanted a new connection while the server was starting
    OSError,
)
"""What `fetch_records` raises, unconverted."""


async def fetch_records(engine: Engine, text: str, parameters: Sequence[Any]) -> Sequence[Any]:
    """Fetch the records of a statement from asyncpg, on a connection of the engine's pool.

    Raises:
        asyncpg.PostgresError, OSError: one of `ASYNCPG_ERRORS`, as the driver raised it. The connection is closed.
    """
    records: Sequence[Any] = await greenlet_spawn(_fetch, engine, text, parameters)
    return records


def _fetch(engine: Engine, text: str, parameters: Sequence[Any]) -> Sequence[Any]:
    connection: Any = engine.raw_connection()
    try:
        records: Sequence[Any] = await_only(connection.driver_connection.fetch(text, *parameters))
    except ASYNCPG_ERRORS:
        connection.invalidate()  # it may be dead even if the server said why; it must not go back to the pool
        raise
    finally:
        connection.close()
    return records
