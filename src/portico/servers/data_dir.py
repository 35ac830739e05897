"""The data directory of a server: temporary, or persistent."""

import json
import os
import pwd
import secrets
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

Account = pwd.struct_passwd

# Guard processes: they end a server when this process is killed, because then their standard input ends.
# The server leads a process group, so that its children end with it.
_KILL_AND_REMOVE = 'read -r _; kill -9 "-$1"; rm -rf "$2"'
_STOP_OR_KILL = (
    'read -r _; kill -s "$2" "$1"; left=20; '
    'while [ $left -gt 0 ] && kill -0 "$1" 2>/dev/null; do sleep 1; left=$((left-1)); done; kill -9 "-$1" 2>/dev/null'
)


class DataDirUnusable(Exception):
    """The data directory of a server cannot be used."""


class DataDir(ABC):
    """The folder of a server's files, and the stored state of the server."""

    folder: Path
    password: str
    port: int = 0  # of the last start; 0 before the first
    is_new: bool = True
    descriptor: int | None = None  # a process must inherit it to access `folder`

    @abstractmethod
    def guard(self, pid: int, stop_signal: str) -> list[str]:
        """Return a command that ends the server with this process id when its standard input ends."""

    @abstractmethod
    def close(self) -> None:
        """Release the folder, after the server has stopped."""

    def set_prepared(self) -> None:  # noqa: B027  # only a persistent one stores state
        """Store that the folder is prepared for the first start."""

    def set_running(self, pid: int, started_at: float, port: int) -> None:  # noqa: B027  # likewise
        """Store which process runs."""

    def previous_process(self) -> tuple[int, float]:
        """Return the id and the start time of a process that was not stopped; zeros if there is none."""
        return 0, 0.0


class TemporaryDataDir(DataDir):
    """A folder that is deleted when the server stops."""

    def __init__(self, key: str, account: Account | None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"portico-{key}-"))
        self.password = secrets.token_hex(16)
        _change_owner(self.folder, account)

    def guard(self, pid: int, stop_signal: str) -> list[str]:  # noqa: ARG002  # temporary data needs no orderly stop
        return ["/bin/sh", "-c", _KILL_AND_REMOVE, "guard", str(pid), str(self.folder)]

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class _State:
    password: str
    is_prepared: bool = False
    port: int = 0
    pid: int = 0
    started_at: float = 0.0


class PersistentDataDir(DataDir):
    """A folder that remains when the server stops. The next start uses the same data, password and port.

    Args:
        parent: the folder of the data directories; `{key}.json` in it, which only its owner may read, has the state.
        key: the server's key.
        account: the account that the server runs as; None for that of this process.

    Raises:
        DataDirUnusable: the folder cannot be written, or its data has no stored password.
    """

    def __init__(self, parent: Path, key: str, account: Account | None) -> None:
        self._file = parent / f"{key}.json"
        self._real = parent / key
        try:
            self._real.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._state = self._load()
            self._save(self._state)
            if not self._state.is_prepared:
                _clear(self._real)  # files of an interrupted start
            _change_owner(self._real, account)
            self.folder = self._real.absolute() if account is None else self._path_by_descriptor()
        except OSError as error:
            raise DataDirUnusable(f"{self._real} cannot be used for a server's data: {error.strerror}") from error
        self.password = self._state.password
        self.port = self._state.port
        self.is_new = not self._state.is_prepared

    def guard(self, pid: int, stop_signal: str) -> list[str]:
        return ["/bin/sh", "-c", _STOP_OR_KILL, "guard", str(pid), stop_signal]

    def close(self) -> None:
        with suppress(FileNotFoundError):  # the folder was deleted
            self._save(replace(self._state, pid=0, started_at=0.0))
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def set_prepared(self) -> None:
        self._save(replace(self._state, is_prepared=True))
        self.is_new = False

    def set_running(self, pid: int, started_at: float, port: int) -> None:
        self._save(replace(self._state, pid=pid, started_at=started_at, port=port))

    def previous_process(self) -> tuple[int, float]:
        return self._state.pid, self._state.started_at

    def _load(self) -> _State:
        if not self._file.exists():
            if any(self._real.iterdir()):
                raise DataDirUnusable(
                    f"{self._real} has data, but {self._file} with its password is missing. Restore that file, or move "
                    "the folder away to start with new data"
                )
            return _State(password=secrets.token_hex(24))
        try:
            return _State(**json.loads(self._file.read_text("utf-8")))
        except (ValueError, TypeError) as error:
            raise DataDirUnusable(f"{self._file} is damaged. Restore it from a backup") from error

    def _save(self, state: _State) -> None:
        draft = self._file.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(state), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._file)
        self._state = state

    def _path_by_descriptor(self) -> Path:
        """Return a path to the folder that needs no permission for its parents.

        Root starts PostgreSQL as another account, which may not enter /root and other folders of root.
        """
        if sys.platform != "linux":
            return self._real.absolute()
        self.descriptor = os.open(self._real, os.O_RDONLY | os.O_DIRECTORY)
        return Path(f"/proc/self/fd/{self.descriptor}")


def _change_owner(folder: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)


def _clear(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
