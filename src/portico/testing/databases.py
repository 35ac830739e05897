"""Empty databases for one test, whatever the dialect."""

from pathlib import Path
from typing import Protocol

from portico.servers import MariaDBServer, PostgreSQLServer


class Databases(Protocol):
    """Empty databases that belong to one test."""

    @property
    def dialect(self) -> str:
        """One of `sqlite`, `postgresql`, `mariadb`."""

    def fresh(self, name: str = "main") -> str:
        """Make the empty database `name` and give its address."""

    def per_service(self) -> str:
        """Give an address with `{service}` in it, for a database each; none of them exists yet."""


class SQLiteDatabases:
    """Files of a folder of the test's own."""

    dialect = "sqlite"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def fresh(self, name: str = "main") -> str:
        return f"sqlite:///{self._folder / name}.db"

    def per_service(self) -> str:
        return self.fresh("{service}")


class ServerDatabases:
    """Databases of a shared server, told from other tests' by a prefix."""

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
