import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from portico.servers.data_dir import Account
from portico.servers.programs import find_program
from portico.servers.server import HOST, Server, ServerFailed

USER = "portico"


class MariaDBServer(Server):
    """A private MariaDB, with the account `portico`, which has all privileges and a password.

    Args:
        durable: see `Server`.
        data_dir: see `Server`.
        database: the default database of its address; `{service}` stands for a database for each service.
        connections: the maximum number of connections.
    """

    name: ClassVar[str] = "MariaDB"
    key: ClassVar[str] = "mariadb"
    accounts: ClassVar[tuple[str, ...]] = ("mysql",)

    def __init__(
        self,
        *,
        durable: bool = False,
        data_dir: Path | None = None,
        database: str = "mysql",
        connections: int = 200,
    ) -> None:
        super().__init__(durable=durable, data_dir=data_dir)
        self._database = database
        self._connections = connections

    def choose_account(self, data_dir: Path | None) -> Account | None:
        """Return the account of MariaDB for temporary data only: it crashes in folders below one that it may not enter."""
        return None if data_dir is not None else super().choose_account(data_dir)

    def find_programs(self) -> None:
        self._mariadbd = find_program("mariadbd")
        self._install = find_program("mariadb-install-db")
        self._client = find_program("mariadb")

    def prepare(self) -> None:
        self.run(
            self._install,
            "--no-defaults",
            f"--datadir={self._data}",
            f"--tmpdir={self._data.parent}",  # concurrent installations would conflict in the system's folder
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--innodb-log-file-size=8M",
            *self._user(),
        )
        # Executed at each start, before the first client connects.
        self.write(
            "accounts.sql",
            f"CREATE OR REPLACE USER '{USER}'@'{HOST}' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'{HOST}' WITH GRANT OPTION;\n"
            f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{self.password}';\n",
        )

    def command(self) -> Sequence[str | Path]:
        settings = {
            "datadir": self._data,
            "bind-address": HOST,
            "port": self.port,
            "socket": self.folder / "socket",
            "tmpdir": self.folder,  # its user may not write where this process has its temporary files
            "pid-file": self.folder / "pid",
            "init-file": self.folder / "accounts.sql",
            "character-set-server": "utf8mb4",
            "max-connections": self._connections,
            "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "32M",
            # seconds that a change of a table waits for transactions that use it; without it, a day
            "lock-wait-timeout": 60,
            # 2 passes each commit to the operating system, so that it survives the process
            "innodb-flush-log-at-trx-commit": 1 if self.durable else 2,
            "innodb-doublewrite": int(self.durable),
        }
        if not self.durable:
            # Without these, creating or dropping a table waits for the disk a dozen times, and creates or deletes a file.
            settings |= {"innodb-flush-method": "nosync", "sync-frm": 0, "debug-no-sync": 1, "innodb-file-per-table": 0}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [self._mariadbd, "--no-defaults", "--skip-name-resolve", "--skip-log-bin", *self._user(), *options]

    def is_ready(self) -> bool:
        try:
            return self.execute("SELECT 1").strip() == "1"
        except ServerFailed:
            return False

    def url(self, database: str | None = None) -> str:
        """Return the address of `database`; `{service}` in the name is kept."""
        return f"mysql://{USER}:{self.password}@{HOST}:{self.port}/{database or self._database}"

    def create_database(self, name: str) -> str:
        """Create an empty database; return its address."""
        self.execute(f"CREATE DATABASE `{name}`")
        return self.url(name)

    def drop_databases(self, prefix: str) -> None:
        """Drop the databases whose names start with `prefix`, once no transaction uses them."""
        names = self.execute(
            f"SELECT schema_name FROM information_schema.schemata WHERE LOCATE('{prefix}', schema_name) = 1"  # noqa: S608  # a name of the test's own
        )
        for name in names.splitlines():
            self.execute(f"DROP DATABASE `{name}`")

    def execute(self, statement: str, database: str = "mysql") -> str:
        """Run one statement on its own connection; return its rows as lines.

        Raises:
            ServerFailed: the server rejected it.
        """
        return self.run(
            self._client,
            "--no-defaults",
            "--protocol=tcp",
            f"--host={HOST}",
            f"--port={self.port}",
            f"--user={USER}",
            "--connect-timeout=5",
            "--batch",
            "--skip-column-names",
            f"--database={database}",
            f"--execute={statement}",
            environ={"MYSQL_PWD": self.password},
        )

    def _user(self) -> list[str]:
        """Return the option without which MariaDB refuses to run as root."""
        return ["--user=root"] if self._account is None and os.geteuid() == 0 else []

    @property
    def _data(self) -> Path:
        return self.folder / "data"
