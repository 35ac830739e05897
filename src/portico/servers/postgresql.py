import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import psutil

from portico.servers.programs import find_program
from portico.servers.server import HOST, Server, ServerFailed

USER = "portico"


class PostgreSQLServer(Server):
    """A private PostgreSQL, with the superuser `portico` and a password (SCRAM).

    Args:
        durable: see `Server`.
        data_dir: see `Server`.
        database: the default database of its address.
        connections: the maximum number of connections.
    """

    name: ClassVar[str] = "PostgreSQL"
    key: ClassVar[str] = "postgresql"
    accounts: ClassVar[tuple[str, ...]] = ("postgres",)
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # fast shutdown

    def __init__(
        self,
        *,
        durable: bool = False,
        data_dir: Path | None = None,
        database: str = "postgres",
        connections: int = 200,
    ) -> None:
        super().__init__(durable=durable, data_dir=data_dir)
        self._database = database
        self._connections = connections

    def find_programs(self) -> None:
        self._postgres = find_program("postgres").resolve()  # the real path: the other programs are in the same folder
        self._initdb = find_program("initdb", beside=self._postgres)
        self._psql = find_program("psql", beside=self._postgres)

    def prepare(self) -> None:
        secret = self.write("password", self.password)
        self.run(
            self._initdb,
            f"--pgdata={self._data}",
            f"--username={USER}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            f"--locale={'C.UTF-8' if sys.platform == 'linux' else 'en_US.UTF-8'}",
            "--no-sync",
            "--no-instructions",
        )
        secret.unlink()

    def configure(self) -> None:
        """Remove a lock file whose process id now belongs to another program. PostgreSQL itself removes those of ended processes."""
        lock = self._data / "postmaster.pid"
        try:
            holder = psutil.Process(int(lock.read_text().split(maxsplit=1)[0]))
            foreign = Path(holder.cwd()) != self._data.resolve()
        except (FileNotFoundError, ValueError, IndexError, psutil.Error):
            return
        if foreign:
            lock.unlink()

    def command(self) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(self._connections),
            "shared_buffers": "64MB",
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "lc_messages": "C",
            # A failed statement may contain personal data, so it is not logged; the client receives the error.
            "log_min_error_statement": "panic",
            "log_parameter_max_length_on_error": "0",
        }
        return [self._postgres, "-D", self._data, *(f"--{name}={value}" for name, value in settings.items())]

    def is_ready(self) -> bool:
        try:
            return self.execute("SELECT 1").strip() == "1"
        except ServerFailed:
            return False  # it accepts connections before it is ready

    def url(self, database: str | None = None) -> str:
        """Return the address of `database`; `{service}` in the name is kept."""
        return f"postgresql://{USER}:{self.password}@{HOST}:{self.port}/{database or self._database}"

    def create_database(self, name: str) -> str:
        """Create an empty database; return its address."""
        self.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def drop_databases(self, prefix: str) -> None:
        """Drop the databases whose names start with `prefix`, and close their connections."""
        names = self.execute(f"SELECT datname FROM pg_database WHERE starts_with(datname, '{prefix}')")  # noqa: S608  # a name of the test's own
        for name in names.splitlines():
            self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run one statement on its own connection; return its rows as lines.

        Raises:
            ServerFailed: the server rejected it.
        """
        command = ("--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1")
        where = (f"--host={HOST}", f"--port={self.port}", f"--username={USER}", f"--dbname={database}")
        return self.run(
            self._psql,
            *command,
            *where,
            f"--command={statement}",
            environ={"PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "5"},
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"
