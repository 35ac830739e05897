"""Find the programs of servers, and the account that runs them."""

import os
import pwd
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

# Where packages install servers that are not on the PATH of ordinary users.
FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/local/sbin",
    "usr/sbin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "opt/homebrew/sbin",
)


# The package of each program on Debian and in Homebrew.
PACKAGES = {
    "postgres": ("postgresql", "postgresql@17"),
    "mariadbd": ("mariadb-server", "mariadb"),
    "redis-server": ("redis-server", "redis"),
    "rabbitmq-server": ("rabbitmq-server", "rabbitmq"),
    "nats-server": ("nats-server", "nats-server"),
    "nginx": ("nginx", "nginx"),
}


class ProgramMissing(Exception):
    """A server's program is not installed on this machine."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(f"no {' or '.join(names)} on this machine; {_how_to_install(names[0])}")


def _how_to_install(name: str) -> str:
    if name == "kafka":
        return "`make kafka` in Portico's folder installs it (with Java and Maven), and so does `brew install kafka`"
    here = "`make servers` in Portico's folder installs it"
    if name not in PACKAGES:
        return here
    debian, homebrew = PACKAGES[name]
    return f"{here}, and so does `apt-get install {debian}` (Debian, Ubuntu) or `brew install {homebrew}`"


def find_program(*names: str, beside: Path | None = None) -> Path:
    """Find the first of `names` in the folder of `beside`, on PATH, or where packages install servers.

    Raises:
        ProgramMissing: none of them is installed.
    """
    folders = [str(beside.parent)] if beside else []
    folders += [os.environ.get("PATH", os.defpath), *_package_folders()]
    for name in names:
        if found := shutil.which(name, path=os.pathsep.join(folders)):
            return Path(found)
    raise ProgramMissing(names)


def _package_folders() -> list[str]:
    """Return the package folders of this machine, the newest version of a server first."""
    found = [str(folder) for pattern in FOLDERS for folder in Path("/").glob(pattern)]
    return sorted(found, key=lambda folder: [int(number) for number in re.findall(r"\d+", folder)], reverse=True)


def server_account(*names: str) -> pwd.struct_passwd | None:
    """Return the account that a server runs as; None for that of this process.

    PostgreSQL and MariaDB refuse to run as root, so root starts them as the first of `names` that exists.
    """
    if os.geteuid() != 0:
        return None
    for name in (*names, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ProgramMissing(names)
