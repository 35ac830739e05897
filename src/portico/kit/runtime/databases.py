"""The database of a service in its system: opened, or what keeps it from being opened and what to do about it."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from portico.kit.data.engine import Database, PoolSizes
from portico.kit.data.failures import is_unavailable
from portico.kit.data.migrations import MigrationSet, migration_sets_of
from portico.kit.data.provisioning import ensure_database
from portico.kit.runtime.system import Placement
from portico.kit.settings import DatabaseAddress, Settings, database_for, replica_for

_SIGN_IN_REFUSED = {"28P01", "28000"}  # PostgreSQL: invalid_password, invalid_authorization_specification
_MYSQL_SIGN_IN_REFUSED = {1045, 1698}  # ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR
_FORBIDDEN = {"42501"}  # PostgreSQL: insufficient_privilege
_MYSQL_FORBIDDEN = {1044, 1142}  # ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR
_TABLE_KNOWN = {"42P07"}  # PostgreSQL: duplicate_table
_MYSQL_TABLE_KNOWN = {1050}  # ER_TABLE_EXISTS_ERROR
_DAMAGED = ("not a database", "malformed")
_SHUT = ("unable to open", "readonly", "disk I/O")


class DatabaseUnusable(RuntimeError):
    """A service's database can't be used.

    Args:
        problem: what is wrong, a sentence.
        advice: what to do about it.
    """

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(f"{problem} {advice}")
        self.problem = problem
        self.advice = advice


@asynccontextmanager
async def open_database(placement: Placement, settings: Settings) -> AsyncIterator[Database]:
    """The engines of the service's database, which is made where it is missing and the account may.

    Raises:
        DatabaseUnusable: it can't be reached, does not let this account in, is damaged, or its driver is missing.
        DatabaseMissing: the database is missing, and the account may not make it.
        SettingsError: DATABASE_URL names none that it could have.
    """
    place = database_for(settings, placement.name)
    replica = replica_for(settings, placement.name)
    with translate_errors(placement.name, place):
        await ensure_database(place.url, place.schema)
        database = Database.connect(
            place.url,
            replica=replica.url if replica else None,
            schema=place.schema,
            pools=PoolSizes(settings.database_pool_size, settings.database_pool_timeout),
            log_sql=settings.log_sql,
        )
    try:
        yield database
    finally:
        await database.aclose()


def migration_sets(placement: Placement) -> list[MigrationSet]:
    """The histories of migrations that the service's database goes through."""
    return migration_sets_of(placement.name, placement.service.migrations, placement.service.tables)


@contextmanager
def translate_errors(service: str, place: DatabaseAddress) -> Iterator[None]:
    """Make what a driver raises while a database is opened into a DatabaseUnusable, where it is known what it means."""
    try:
        yield
    except (DBAPIError, PoolTimeout, OSError, ImportError) as error:
        told = _foreign_tables(service, place, error)
        told = told or (_file_trouble(service, place, error) if place.embedded else _server_trouble(place, error))
        if told is None:
            raise
        raise told from error


def _foreign_tables(service: str, place: DatabaseAddress, error: Exception) -> DatabaseUnusable | None:
    words = str(getattr(error, "orig", ""))
    sqlite_knows = place.embedded and words.startswith("table ") and words.endswith(" already exists")
    if not sqlite_knows and not _says(error, _TABLE_KNOWN, _MYSQL_TABLE_KNOWN):
        return None
    where = place.url.database if place.embedded else f"{place.url.database} at {_where(place)}"
    return DatabaseUnusable(
        f"The database of {service}, {where}, has tables already that its migrations have not made.",
        "Give each service a database of its own. If there is nothing in it to keep, as where a first migration was cut "
        "off, empty it.",
    )


def _file_trouble(service: str, place: DatabaseAddress, error: Exception) -> DatabaseUnusable | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    words = str(cause)
    if isinstance(cause, sqlite3.DatabaseError) and any(sign in words for sign in _DAMAGED):
        return DatabaseUnusable(
            f"The database of {service}, {place.url.database}, is damaged: {words}.",
            "Restore it from a copy, or move it away to begin with an empty one.",
        )
    if isinstance(cause, OSError) or any(sign in words for sign in _SHUT):
        reason = (cause.strerror if isinstance(cause, OSError) else None) or words
        return DatabaseUnusable(
            f"The database of {service}, {place.url.database}, can't be opened: {reason}.",
            "Make the folder and the file writable for this account, or set DATA_DIR to a folder that is.",
        )
    return None


def _server_trouble(place: DatabaseAddress, error: Exception) -> DatabaseUnusable | None:
    url = place.url
    if isinstance(error, ImportError):
        extra = "mysql" if url.get_backend_name() == "mysql" else url.get_backend_name()
        return DatabaseUnusable(
            f"DATABASE_URL names a {url.get_backend_name()} server, and its driver {error.name} is not installed.",
            f"Install it: pip install 'portico[{extra}]'",
        )
    if _refuses_account(error):
        return DatabaseUnusable(
            f"The database server at {_where(place)} does not let {url.username or 'this account'} in.",
            "Look at the user and the password in DATABASE_URL; special characters in them are percent-encoded.",
        )
    if _says(error, _FORBIDDEN, _MYSQL_FORBIDDEN):
        return DatabaseUnusable(
            f"The account {url.username} may not make and use tables in {url.database} at {_where(place)}.",
            f"Have an administrator run: {_granting(place)}",
        )
    if is_unavailable(error) or isinstance(error, OSError):
        return DatabaseUnusable(
            f"The database server at {_where(place)} can't be reached: {_in_a_word(error)}.",
            "Start it, or set DATABASE_URL to where it is; without DATABASE_URL, files in DATA_DIR serve.",
        )
    return None


def _refuses_account(error: Exception) -> bool:
    return _says(error, _SIGN_IN_REFUSED, _MYSQL_SIGN_IN_REFUSED)


def _says(error: Exception, states: set[str], numbers: set[int]) -> bool:
    """Whether the server gave one of PostgreSQL's `states` or of MySQL's `numbers` as its reason."""
    cause = getattr(error, "orig", None)
    number = next(iter(getattr(cause, "args", ())), None)
    return getattr(cause, "sqlstate", None) in states or number in numbers


def _granting(place: DatabaseAddress) -> str:
    url = place.url
    if url.get_backend_name() != "postgresql":
        return f"GRANT ALL ON `{url.database}`.* TO '{url.username}'@'%';"
    what = f'SCHEMA "{place.schema}"' if place.schema else f'DATABASE "{url.database}"'
    return f'ALTER {what} OWNER TO "{url.username}";'


def _where(place: DatabaseAddress) -> str:
    usual = 5432 if place.url.get_backend_name() == "postgresql" else 3306
    return f"{place.url.host or 'this machine'}:{place.url.port or usual}"


def _in_a_word(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, TimeoutError | PoolTimeout):
        return "it does not answer"
    if isinstance(cause, ConnectionRefusedError) or "refused" in str(cause) or "Can't connect" in str(cause):
        return "nobody listens there"
    return (cause.strerror if isinstance(cause, OSError) else None) or type(cause).__name__
