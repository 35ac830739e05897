"""What a database error means to the one who asked."""

import socket

from asyncpg import InternalClientError
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_POSTGRESQL_RACES = {"40001", "40P01"}  # serialization_failure, deadlock_detected
_MYSQL_RACES = {1213, 1020}  # ER_LOCK_DEADLOCK, ER_CHECKREAD
_UNIQUE_SQLSTATES = {"23505"}
_MYSQL_DUPLICATE = 1062
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
# InternalClientError is asyncpg's word for a connection that ends in the very moment in which a statement is sent;
# SQLAlchemy passes it on as it is.
_POSTGRESQL_LOST = ("08", "57P", "53", "25006", "55P03", "57014")  # connection, shutdown, resources, read-only, lock


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def _number(error: DBAPIError) -> int:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0


def is_retryable_conflict(error: BaseException) -> bool:
    """A deadlock or a serialisation failure: nothing happened, and the same again may succeed."""
    if not isinstance(error, DBAPIError):
        return False
    return _sqlstate(error) in _POSTGRESQL_RACES or _number(error) in _MYSQL_RACES


def is_duplicate(error: IntegrityError) -> bool:
    """A unique index refused the row."""
    if _sqlstate(error) in _UNIQUE_SQLSTATES or _number(error) == _MYSQL_DUPLICATE:
        return True
    return "UNIQUE constraint failed" in str(error.orig)


def is_unavailable(error: BaseException) -> bool:
    """The database can't be reached, is shutting down, is full or has no connection to spare."""
    if isinstance(error, PoolTimeout | ConnectionError | socket.gaierror | TimeoutError | InternalClientError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or _number(error) in _MYSQL_LOST or _sqlstate(error).startswith(_POSTGRESQL_LOST):
        return True
    return isinstance(error, InterfaceError | OperationalError) and _sqlite_is_out(error)


def is_disconnected(error: BaseException) -> bool:
    """The connection was found dead, and another one may live; unlike a database that is full or has none to spare."""
    if isinstance(error, ConnectionError | InternalClientError):
        return True
    return isinstance(error, DBAPIError) and (error.connection_invalidated or is_unavailable(error))


def _sqlite_is_out(error: DBAPIError) -> bool:
    words = str(error.orig)
    return any(
        sign in words
        for sign in (
            "database is locked",
            "unable to open database",
            "disk is full",
            "disk I/O error",
            "connection is closed",
        )
    )
