"""Open a service's database, with errors that say what to do."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from portico.kit.data.engine import Database, PoolLimits
from portico.kit.data.failures import is_storage_full, is_unavailable
from portico.kit.data.migrations import MigrationSet, migration_sets_of
from portico.kit.data.provisioning import ensure_database
from portico.kit.runtime.system import Placement
from portico.kit.settings import DatabaseAddress, Settings, database_for, replica_for

_LOGIN_FAILURES = {"28P01", "28000"}  # PostgreSQL: invalid_password, invalid_authorization_specification
_MYSQL_LOGIN_FAILURES = {1045, 1698}  # ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR
_FORBIDDEN = {"42501"}  # PostgreSQL: insufficient_privilege
_MYSQL_FORBIDDEN = {1044, 1142}  # ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR
_TABLE_EXISTS = {"42P07"}  # PostgreSQL: duplicate_table
_MYSQL_TABLE_EXISTS = {1050}  # ER_TABLE_EXISTS_ERROR
_DAMAGED = ("not a database", "malformed")
_NOT_WRITABLE = ("unable to open", "readonly", "disk I/O")


class DatabaseUnusable(RuntimeError):
    """A service's database cannot be used.

    Args:
        problem: a sentence that says what is wrong.
        advice: what to do about it.
    """

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(f"{problem} {advice}")
        self.problem = problem
        self.advice = advice


@asynccontextmanager
async def open_database(placement: Placement, settings: Settings) -> AsyncIterator[Database]:
    """Open the engines of the service's database. It is created if it does not exist and the account may create it.

    Raises:
        DatabaseUnusable: it is unreachable, rejects the account or is damaged, or its driver is not installed.
        DatabaseMissing: it does not exist, and the account may not create it.
        SettingsError: DATABASE_URL is not a usable address.
    """
    address = database_for(settings, placement.name)
    replica = replica_for(settings, placement.name)
    with translate_errors(placement.name, address):
        await ensure_database(address.url, address.schema, connect_timeout=settings.database_connect_timeout)
        database = Database.connect(
            address.url,
            replica=replica.url if replica else None,
            schema=address.schema,
            pools=PoolLimits(
                settings.database_pool_size, settings.database_pool_timeout, settings.database_connect_timeout
            ),
            log_sql=settings.log_sql,
        )
    try:
        yield database
    finally:
        await database.aclose()


def migration_sets(placement: Placement) -> list[MigrationSet]:
    """Return the migration histories of the service's database."""
    return migration_sets_of(placement.name, placement.service.migrations, placement.service.tables)


@contextmanager
def translate_errors(service: str, address: DatabaseAddress) -> Iterator[None]:
    """Convert driver errors while opening a database to DatabaseUnusable. Unknown errors are raised unchanged."""
    try:
        yield
    except (DBAPIError, PoolTimeout, OSError, ImportError) as error:
        translated = _foreign_tables(service, address, error)
        translated = translated or (
            _file_trouble(service, address, error) if address.embedded else _server_trouble(address, error)
        )
        if translated is None:
            raise
        raise translated from error


def _foreign_tables(service: str, address: DatabaseAddress, error: Exception) -> DatabaseUnusable | None:
    words = str(getattr(error, "orig", ""))
    sqlite_knows = address.embedded and words.startswith("table ") and words.endswith(" already exists")
    if not sqlite_knows and not _has_code(error, _TABLE_EXISTS, _MYSQL_TABLE_EXISTS):
        return None
    where = address.url.database if address.embedded else f"{address.url.database} at {_host_and_port(address)}"
    return DatabaseUnusable(
        f"The database of {service}, {where}, contains tables that its migrations did not create.",
        "Give each service its own database. If it contains nothing to keep, for example after an interrupted first "
        "migration, empty it.",
    )


def _file_trouble(service: str, address: DatabaseAddress, error: Exception) -> DatabaseUnusable | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    words = str(cause)
    if isinstance(cause, sqlite3.DatabaseError) and any(sign in words for sign in _DAMAGED):
        return DatabaseUnusable(
            f"The database of {service}, {address.url.database}, is damaged: {words}.",
            "Restore it from a backup, or move it away to start with an empty one.",
        )
    if is_storage_full(error):
        return DatabaseUnusable(
            f"The database of {service}, {address.url.database}, cannot be written: {words}.",
            "Free space on that disk, or set DATA_DIR to a directory on another one.",
        )
    if isinstance(cause, OSError) or any(sign in words for sign in _NOT_WRITABLE):
        reason = (cause.strerror if isinstance(cause, OSError) else None) or words
        return DatabaseUnusable(
            f"The database of {service}, {address.url.database}, cannot be opened: {reason}.",
            "Make the directory and the file writable for this account, or set DATA_DIR to a writable directory.",
        )
    return None


def _server_trouble(address: DatabaseAddress, error: Exception) -> DatabaseUnusable | None:
    url = address.url
    if isinstance(error, ImportError):
        extra = "mysql" if url.get_backend_name() == "mysql" else url.get_backend_name()
        return DatabaseUnusable(
            f"DATABASE_URL names a {url.get_backend_name()} server, but its driver {error.name} is not installed.",
            f"Install it with: pip install 'portico[{extra}]'",
        )
    if _is_login_failure(error):
        return DatabaseUnusable(
            f"The database server at {_host_and_port(address)} rejected {url.username or 'this account'}.",
            "Check the user and the password in DATABASE_URL. Special characters in them must be percent-encoded.",
        )
    if _has_code(error, _FORBIDDEN, _MYSQL_FORBIDDEN):
        return DatabaseUnusable(
            f"The account {url.username} may not create and use tables in {url.database} at {_host_and_port(address)}.",
            f"Ask an administrator to run: {_grant_statement(address)}",
        )
    if is_unavailable(error) or isinstance(error, OSError):
        return DatabaseUnusable(
            f"The database server at {_host_and_port(address)} cannot be reached: {_error_name(error)}.",
            "Start it, or correct DATABASE_URL. Without DATABASE_URL, files in DATA_DIR are used.",
        )
    return None


def _is_login_failure(error: Exception) -> bool:
    return _has_code(error, _LOGIN_FAILURES, _MYSQL_LOGIN_FAILURES)


def _has_code(error: Exception, states: set[str], numbers: set[int]) -> bool:
    """Return whether the server's error has one of PostgreSQL's `states` or MySQL's `numbers`."""
    cause = getattr(error, "orig", None)
    number = next(iter(getattr(cause, "args", ())), None)
    return getattr(cause, "sqlstate", None) in states or number in numbers


def _grant_statement(address: DatabaseAddress) -> str:
    url = address.url
    if url.get_backend_name() != "postgresql":
        return f"GRANT ALL ON `{url.database}`.* TO '{url.username}'@'%';"
    what = f'SCHEMA "{address.schema}"' if address.schema else f'DATABASE "{url.database}"'
    return f'ALTER {what} OWNER TO "{url.username}";'


def _host_and_port(address: DatabaseAddress) -> str:
    usual = 5432 if address.url.get_backend_name() == "postgresql" else 3306
    return f"{address.url.host or 'this machine'}:{address.url.port or usual}"


def _error_name(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, TimeoutError | PoolTimeout):
        return "it does not respond"
    if isinstance(cause, ConnectionRefusedError) or "refused" in str(cause) or "Can't connect" in str(cause):
        return "the connection was refused"
    return (cause.strerror if isinstance(cause, OSError) else None) or type(cause).__name__
