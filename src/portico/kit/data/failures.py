"""Classification of database errors."""

import socket
import sqlite3
import sys

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_POSTGRESQL_CONFLICTS = {"40001", "40P01"}  # serialization_failure, deadlock_detected
_MYSQL_CONFLICTS = {1213, 1020}  # ER_LOCK_DEADLOCK, ER_CHECKREAD
_UNIQUE_SQLSTATES = {"23505"}
_MYSQL_DUPLICATE = 1062
_MYSQL_FULL = {1021, 1114}  # ER_DISK_FULL, ER_RECORD_FILE_FULL
_POSTGRESQL_FULL = "53100"  # disk_full
_MYSQL_LOST = {
    1040,
    1053,
    1077,
    1079,
    1152,
    1158,
    1159,
    1160,
    1161,
    1205,
    1290,
    1836,
    2002,
    2003,
    2006,
    2013,
    2055,
    4031,
}
_POSTGRESQL_LOST = ("08", "57P", "53", "25006", "55P03", "57014")  # connection, shutdown, resources, read-only, lock


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def _number(error: DBAPIError) -> int:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0


def is_retryable_conflict(error: BaseException) -> bool:
    """Return whether the error is a deadlock or serialization failure: nothing was written, and a retry may succeed."""
    if not isinstance(error, DBAPIError):
        return False
    return _sqlstate(error) in _POSTGRESQL_CONFLICTS or _number(error) in _MYSQL_CONFLICTS


def is_duplicate(error: IntegrityError) -> bool:
    """Return whether a unique index rejected the row."""
    if _sqlstate(error) in _UNIQUE_SQLSTATES or _number(error) == _MYSQL_DUPLICATE:
        return True
    return "UNIQUE constraint failed" in str(error.orig)


def is_unavailable(error: BaseException) -> bool:
    """Return whether the database is unreachable, shutting down, full or has no free connection."""
    if isinstance(error, PoolTimeout | ConnectionError | socket.gaierror | TimeoutError) or _is_internal_to_asyncpg(
        error
    ):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if is_storage_full(error):
        return True
    if error.connection_invalidated or _number(error) in _MYSQL_LOST or _sqlstate(error).startswith(_POSTGRESQL_LOST):
        return True
    return isinstance(error, InterfaceError | OperationalError) and _is_sqlite_unavailable(error)


def is_storage_full(error: BaseException) -> bool:
    """Return whether the database had no space for a write. The transaction is rolled back, even after a commit."""
    if not isinstance(error, DBAPIError):
        return False
    if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return True
    return _sqlstate(error) == _POSTGRESQL_FULL or _number(error) in _MYSQL_FULL


def is_disconnected(error: BaseException) -> bool:
    """Return whether the connection was dead and another one may work. This excludes a full database."""
    if is_storage_full(error):
        return False
    if isinstance(error, ConnectionError) or _is_internal_to_asyncpg(error):
        return True
    return isinstance(error, DBAPIError) and (error.connection_invalidated or is_unavailable(error))


def _is_internal_to_asyncpg(error: BaseException) -> bool:
    """Return whether asyncpg raised the error because a connection ended while a statement was being sent.

    SQLAlchemy does not wrap it. asyncpg is imported only where PostgreSQL is used.
    """
    driver = sys.modules.get("asyncpg")
    return driver is not None and isinstance(error, driver.InternalClientError)


def _is_sqlite_unavailable(error: DBAPIError) -> bool:
    words = str(error.orig)
    return any(
        sign in words
        for sign in (
            "database is locked",
            "unable to open database",
            "disk I/O error",
            "connection is closed",
        )
    )
