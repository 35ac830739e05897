"""Reads without SQLAlchemy's cursors: asyncpg fetches the records and prepares a statement once per connection."""

from collections.abc import Sequence
from typing import Any

import asyncpg
from sqlalchemy import Engine

from portico.kit.data.greenlets import run_in_greenlet

_DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection ended at the moment in which a statement was sent
    OSError,
)


async def fetch_records(engine: Engine, text: str, parameters: Sequence[Any]) -> Sequence[Any] | None:
    """Fetch the records of a statement from asyncpg, on a connection of the engine's pool.

    Returns:
        The records; None if asyncpg raised an error. In that case the connection is closed. The caller may repeat the
        read through SQLAlchemy, which finds a live connection or converts the error.
    """
    return await run_in_greenlet(_fetch, engine, text, parameters)


def _fetch(engine: Engine, text: str, parameters: Sequence[Any]) -> Sequence[Any] | None:
    try:
        connection: Any = engine.raw_connection()
    except (*_DRIVER_ERRORS, engine.dialect.loaded_dbapi.Error):  # the server is down or starting
        return None
    try:
        records: Sequence[Any] = connection.run_async(lambda driver: driver.fetch(text, *parameters))
    except _DRIVER_ERRORS:
        connection.invalidate()  # it may be dead, even if the server reported the error, so it must not return to the pool
        return None
    finally:
        connection.close()
    return records
