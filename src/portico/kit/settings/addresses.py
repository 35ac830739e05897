"""From the addresses that people write to those that the drivers want."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from portico.kit.settings.model import Settings
from portico.kit.settings.reading import SettingsError

PLACEHOLDER = "{service}"
_GUEST = "guest"
_DRIVERS = {
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "mysql": "mysql+asyncmy",
    # The mysql dialect finds out by itself that it speaks to MariaDB, so that the kit meets one name for both.
    "mariadb": "mysql+asyncmy",
    "sqlite": "sqlite+aiosqlite",
}
# What SQLAlchemy and asyncpg.connect() take as they are; all else is libpq's and only understood within a DSN.
_ASYNCPG_ARGUMENTS = {"ssl", "host", "port", "dsn", "prepared_statement_cache_size", "statement_cache_size"}


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where one service's database is.

    Args:
        url: with its async driver; its text hides the password.
        schema: the schema that the service has for itself, where a PostgreSQL database is shared.
        embedded: it is a SQLite file, nobody else's, so that it is migrated without asking.
    """

    url: URL
    schema: str | None = None
    embedded: bool = False


def database_for(settings: Settings, service: str) -> DatabaseAddress:
    """The database of `service`, by the name that the system calls it.

    Raises:
        SettingsError: DATABASE_URL names none that it could have.
    """
    if settings.database_url is None:
        path = (settings.data_dir / f"{service}.db").absolute()
        return DatabaseAddress(URL.create("sqlite+aiosqlite", database=str(path)), embedded=True)
    return _address("DATABASE_URL", settings.database_url, service)


def replica_for(settings: Settings, service: str) -> DatabaseAddress | None:
    """The read-only copy of the service's database, where there is one.

    Raises:
        SettingsError: DATABASE_REPLICA_URL is no copy of what DATABASE_URL names.
    """
    if settings.database_replica_url is None:
        return None
    replica = _address("DATABASE_REPLICA_URL", settings.database_replica_url, service)
    main = database_for(settings, service)
    if replica.embedded or replica.url.drivername != main.url.drivername:
        raise SettingsError(
            "DATABASE_REPLICA_URL has to be a copy of the server that DATABASE_URL names: set both to the same kind."
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
            f"{variable} names one MySQL database for all services, and MySQL has no schemas to keep their tables "
            f"apart: write /{PLACEHOLDER}_db as the database's name, as in mysql://…/{PLACEHOLDER}_db."
        )
    return DatabaseAddress(url.set(drivername=_DRIVERS[backend]))


def _parsed(variable: str, text: str) -> URL:
    try:
        url = make_url(text)
        known = url.get_backend_name() in _DRIVERS
    except (ArgumentError, ValueError):
        # The cause is left out: SQLAlchemy's message repeats the address with the password in it.
        raise SettingsError(
            f"{variable} can't be read as an address: write postgresql://user:password@host:5432/database, with the "
            "special characters of the password percent-encoded."
        ) from None
    if not known:
        raise SettingsError(
            f"{variable} begins with {url.drivername}://, which Portico has no driver for: use postgresql://, mysql://, "
            "mariadb:// or sqlite://."
        )
    if stray := re.search(r"\{[^}]*\}", url.database or ""):
        raise SettingsError(f"{variable} has {stray[0]} in it: only {PLACEHOLDER} is replaced by a service's name.")
    if not url.database and url.get_backend_name() != "sqlite":
        raise SettingsError(f"{variable} names no database: write one behind the host, as in …/{PLACEHOLDER}_db.")
    return url


def _sqlite_file(variable: str, url: URL, *, shared: bool) -> URL:
    if not url.database or url.database == ":memory:" or "mode=memory" in str(url.query):
        raise SettingsError(
            f"{variable} asks for SQLite in memory, where each connection would have a database of its own: "
            f"write sqlite:///folder/{PLACEHOLDER}.db, or leave {variable} out for files in DATA_DIR."
        )
    if shared:
        raise SettingsError(
            f"{variable} names one SQLite file for all services, who would wait for each other's writes: write "
            f"{PLACEHOLDER} into its name, as in sqlite:///folder/{PLACEHOLDER}.db."
        )
    return url.set(drivername=_DRIVERS["sqlite"])


def _for_asyncpg(variable: str, url: URL) -> URL:
    """`url` for asyncpg, which understands libpq's parameters (sslmode, sslrootcert, …) only in a DSN of its own."""
    if "connect_timeout" in url.query:
        raise SettingsError(f"{variable} has connect_timeout in it, which Portico sets itself: remove it.")
    kept = {name: value for name, value in url.query.items() if name in _ASYNCPG_ARGUMENTS}
    moved = [(name, value) for name, value in url.query.items() if name not in _ASYNCPG_ARGUMENTS]
    if moved:
        kept["dsn"] = f"postgresql://?{urlencode(moved, doseq=True)}"
    return url.set(drivername=_DRIVERS["postgresql"], query=kept)


def is_loopback(host: str | None) -> bool:
    """Whether `host` is this machine: a loopback address, `localhost`, or none (a socket in the file system)."""
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
        hosts: where it is; several for a cluster.
        username: with which to sign in there.
        password: likewise; never to be shown.
    """

    variable: str
    hosts: tuple[str, ...]
    username: str | None
    password: str | None

    def __repr__(self) -> str:
        return f"ServerAddress({self.variable}, {', '.join(self.hosts)})"

    @property
    def local(self) -> bool:
        return all(is_loopback(host) for host in self.hosts)


def servers_in(settings: Settings) -> list[ServerAddress]:
    """Every server that `settings` name: none when all is embedded.

    Raises:
        SettingsError: an address that can't be read.
    """
    servers = []
    for variable, text in (
        ("DATABASE_URL", settings.database_url),
        ("DATABASE_REPLICA_URL", settings.database_replica_url),
    ):
        if text is not None and (url := _parsed(variable, text.replace(PLACEHOLDER, "service"))).host is not None:
            servers.append(ServerAddress(variable, (url.host, *_more_hosts(url)), url.username, url.password))
        elif text is not None and url.get_backend_name() != "sqlite":
            servers.append(ServerAddress(variable, _more_hosts(url), url.username, url.password))
    if settings.redis_url is not None:
        parts = urlsplit(settings.redis_url)
        servers.append(ServerAddress("REDIS_URL", (parts.hostname or "",), parts.username, parts.password))
    if settings.rabbitmq_url is not None:
        parts = urlsplit(settings.rabbitmq_url)
        # Where none is given, RabbitMQ's own account is meant, whose password everybody knows.
        username, password = parts.username or _GUEST, parts.password or _GUEST
        servers.append(ServerAddress("RABBITMQ_URL", (parts.hostname or "",), username, password))
    for text in (settings.nats_url or "").split(","):
        if text.strip():
            parts = urlsplit(text.strip())
            servers.append(ServerAddress("NATS_URL", (parts.hostname or "",), parts.username, parts.password))
    if settings.kafka_url is not None:
        account, _, several = urlsplit(settings.kafka_url).netloc.rpartition("@")
        name, _, password = account.partition(":")
        hosts = tuple(urlsplit(f"//{each}").hostname or "" for each in several.split(","))
        servers.append(ServerAddress("KAFKA_URL", hosts, name or None, password or None))
    if settings.smtp_url is not None:
        parts = urlsplit(settings.smtp_url)
        servers.append(ServerAddress("SMTP_URL", (parts.hostname or "",), parts.username, parts.password))
    return servers


def _more_hosts(url: URL) -> tuple[str, ...]:
    return tuple(host.rpartition(":")[0] or host for host in url.normalized_query.get("host", ()))
