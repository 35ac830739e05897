"""Empty databases for one test, of each dialect."""

from pathlib import Path
from typing import Protocol

from portico.servers import MariaDBServer, PostgreSQLServer


class Databases(Protocol):
    """Empty databases that belong to one test."""

    @property
    def dialect(self) -> str:
        """One of `sqlite`, `postgresql`, `mariadb`."""

    def fresh(self, name: str = "main") -> str:
        """Create the empty database `name`; return its address."""

    def per_service(self) -> str:
        """Return an address with `{service}` in it, for one database per service. The databases do not exist yet."""


class SQLiteDatabases:
    """SQLite files in a folder of the test."""

    dialect = "sqlite"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def fresh(self, name: str = "main") -> str:
        return f"sqlite:///{self._folder / name}.db"

    def per_service(self) -> str:
        return self.fresh("{service}")


class ServerDatabases:
    """Databases on a shared server. A prefix separates them from those of other tests."""

    def __init__(self, server: PostgreSQLServer | MariaDBServer, *, prefix: str) -> None:
        self.server = server
        self.dialect = server.key
        self._prefix = prefix

    def fresh(self, name: str = "main") -> str:
        return self.server.create_database(f"{self._prefix}{name}")

    def per_service(self) -> str:
        return self.server.url(f"{self._prefix}{{service}}_db")

    def drop(self) -> None:
        self.server.drop_databases(self._prefix)
