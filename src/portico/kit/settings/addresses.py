"""Addresses of databases and servers: from the URLs in settings to those of the drivers.

Settings are read by commands that use no database, so SQLAlchemy is imported with the first address of one.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from portico.kit.settings.errors import SettingsError
from portico.kit.settings.fields import NamesServer, ServiceSettings, marker, variables_of
from portico.kit.settings.model import Settings

if TYPE_CHECKING:
    from sqlalchemy import URL

PLACEHOLDER = "{service}"
# By scheme: the account (and password) that a server assumes if the URL names none.
_DEFAULT_ACCOUNTS = {
    "amqp": "guest",
    "amqps": "guest",
    "redis": None,
    "rediss": None,
    "unix": None,
    "smtp": None,
    "smtps": None,
    "http": None,
    "https": None,
}
_DRIVERS = {
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "mysql": "mysql+asyncmy",
    # The mysql dialect detects MariaDB by itself, so the kit handles one dialect name for both.
    "mariadb": "mysql+asyncmy",
    "sqlite": "sqlite+aiosqlite",
}
# Arguments of SQLAlchemy and asyncpg.connect(). All others are libpq's, which asyncpg accepts only in a DSN.
_ASYNCPG_ARGUMENTS = {"ssl", "host", "port", "dsn", "prepared_statement_cache_size", "statement_cache_size"}


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """The address of one service's database.

    Args:
        url: the URL with its async driver; its text form hides the password.
        schema: the service's own schema, if services share a PostgreSQL database.
        embedded: whether it is a SQLite file, which is migrated without asking.
    """

    url: "URL"
    schema: str | None = None
    embedded: bool = False


def database_for(settings: Settings, service: str) -> DatabaseAddress:
    """Return the address of a service's database, given the service's name in the system.

    Raises:
        SettingsError: DATABASE_URL is invalid for this service.
    """
    if settings.database_url is None:
        from sqlalchemy import URL

        path = (settings.data_dir / f"{service}.db").absolute()
        return DatabaseAddress(URL.create("sqlite+aiosqlite", database=str(path)), embedded=True)
    return _address("DATABASE_URL", settings.database_url, service)


def replica_for(settings: Settings, service: str) -> DatabaseAddress | None:
    """Return the address of the read-only replica of a service's database; None if there is none.

    Raises:
        SettingsError: DATABASE_REPLICA_URL is not a replica of DATABASE_URL.
    """
    if settings.database_replica_url is None:
        return None
    replica = _address("DATABASE_REPLICA_URL", settings.database_replica_url, service)
    main = database_for(settings, service)
    if replica.embedded or replica.url.drivername != main.url.drivername:
        raise SettingsError(
            "DATABASE_REPLICA_URL must be a replica of the server in DATABASE_URL. Set both to the same kind of database."
        )
    return replica


def _address(variable: str, text: str, service: str) -> DatabaseAddress:
    name = service.replace("-", "_")
    url = _parsed(variable, text.replace(PLACEHOLDER, name))
    backend = url.get_backend_name()
    shared = PLACEHOLDER not in text
    if backend == "sqlite":
        return DatabaseAddress(_sqlite_file(variable, url, shared=shared), embedded=True)
    if backend in {"postgres", "postgresql"}:
        return DatabaseAddress(_for_asyncpg(variable, url), schema=name if shared else None)
    if shared:
        raise SettingsError(
            f"{variable} names one MySQL database for all services, and MySQL has no schemas to separate their tables. "
            f"Write /{PLACEHOLDER}_db as the database's name, as in mysql://…/{PLACEHOLDER}_db."
        )
    return DatabaseAddress(url.set(drivername=_DRIVERS[backend]))


def _parsed(variable: str, text: str) -> "URL":
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
        known = url.get_backend_name() in _DRIVERS
    except (ArgumentError, ValueError):
        # Without the cause: SQLAlchemy's message repeats the address with its password.
        raise SettingsError(
            f"{variable} is not a valid URL. Write postgresql://user:password@host:5432/database, with the special "
            "characters of the password percent-encoded."
        ) from None
    if not known:
        raise SettingsError(
            f"{variable} begins with {url.drivername}://, which is not supported. Use postgresql://, mysql://, mariadb:// or "
            "sqlite://."
        )
    if stray := re.search(r"\{[^}]*\}", url.database or ""):
        raise SettingsError(f"{variable} contains {stray[0]}, but only {PLACEHOLDER} is replaced by a service's name.")
    if not url.database and url.get_backend_name() != "sqlite":
        raise SettingsError(f"{variable} names no database. Write one after the host, as in …/{PLACEHOLDER}_db.")
    return url


def _sqlite_file(variable: str, url: "URL", *, shared: bool) -> "URL":
    if not url.database or url.database == ":memory:" or "mode=memory" in str(url.query):
        raise SettingsError(
            f"{variable} names SQLite in memory, where each connection would have its own database. "
            f"Write sqlite:///folder/{PLACEHOLDER}.db, or remove {variable} to use files in DATA_DIR."
        )
    if shared:
        raise SettingsError(
            f"{variable} names one SQLite file for all services, which would wait for each other's writes. Put "
            f"{PLACEHOLDER} into its name, as in sqlite:///folder/{PLACEHOLDER}.db."
        )
    return url.set(drivername=_DRIVERS["sqlite"])


def _for_asyncpg(variable: str, url: "URL") -> "URL":
    """Return `url` for asyncpg, which accepts libpq's parameters (sslmode, sslrootcert, …) only in a DSN."""
    if "connect_timeout" in url.query:
        raise SettingsError(f"{variable} contains connect_timeout, which Portico sets. Remove it.")
    kept = {name: value for name, value in url.query.items() if name in _ASYNCPG_ARGUMENTS}
    moved = [(name, value) for name, value in url.query.items() if name not in _ASYNCPG_ARGUMENTS]
    if moved:
        kept["dsn"] = f"postgresql://?{urlencode(moved, doseq=True)}"
    return url.set(drivername=_DRIVERS["postgresql"], query=kept)


def is_loopback(host: str | None) -> bool:
    """Return whether `host` is this machine: a loopback address, `localhost`, or none (a Unix socket)."""
    if not host or host == "localhost" or host.endswith(".localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server that a setting names.

    Args:
        variable: the setting.
        hosts: its host; several for a cluster.
        username: the account's name.
        password: the account's password; hidden in the text form.
    """

    variable: str
    hosts: tuple[str, ...]
    username: str | None
    password: str | None

    def __repr__(self) -> str:
        return f"ServerAddress({self.variable}, {', '.join(self.hosts)})"

    @property
    def is_local(self) -> bool:
        return all(is_loopback(host) for host in self.hosts)


def servers_in(*settings: ServiceSettings) -> list[ServerAddress]:
    """Return every server that the settings name: none if all is embedded.

    Raises:
        SettingsError: an address is invalid.
    """
    return [
        server
        for each in settings
        for name, field in type(each).model_fields.items()
        if marker(field, NamesServer) is not None and (text := getattr(each, name)) is not None
        for server in _servers(variables_of(type(each), name)[0], text)
    ]


def _servers(variable: str, text: str) -> Iterator[ServerAddress]:
    scheme = text.partition("://")[0]
    if scheme in {"nats", "tls"}:
        for each in text.split(","):
            parts = urlsplit(each.strip())
            yield ServerAddress(variable, (parts.hostname or "",), parts.username, parts.password)
    elif scheme in {"kafka", "kafkas"}:
        account, _, several = urlsplit(text).netloc.rpartition("@")
        name, _, password = account.partition(":")
        hosts = tuple(urlsplit(f"//{each}").hostname or "" for each in several.split(","))
        yield ServerAddress(variable, hosts, name or None, password or None)
    elif scheme in _DEFAULT_ACCOUNTS:
        parts = urlsplit(text)
        username = parts.username or _DEFAULT_ACCOUNTS[scheme]
        yield ServerAddress(variable, (parts.hostname or "",), username, parts.password or _DEFAULT_ACCOUNTS[scheme])
    else:
        url = _parsed(variable, text.replace(PLACEHOLDER, "service"))
        if url.get_backend_name() != "sqlite":
            hosts = () if url.host is None else (url.host,)
            yield ServerAddress(variable, (*hosts, *_more_hosts(url)), url.username, url.password)


def _more_hosts(url: "URL") -> tuple[str, ...]:
    return tuple(host.rpartition(":")[0] or host for host in url.normalized_query.get("host", ()))
