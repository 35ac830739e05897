"""Where a server's files are: for as long as it runs, or for good."""

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

# What outlives a run that is killed outright, which no `finally` does: its standard input ends with the run.
# The server leads a process group, so that those who would outlive it end with it.
_KILL_AND_REMOVE = 'read -r _; kill -9 "-$1"; rm -rf "$2"'
_STOP_OR_KILL = (
    'read -r _; kill -s "$2" "$1"; left=20; '
    'while [ $left -gt 0 ] && kill -0 "$1" 2>/dev/null; do sleep 1; left=$((left-1)); done; kill -9 "-$1" 2>/dev/null'
)


class HomeUnusable(Exception):
    """The folder in which a server's data is to be kept can't be used as it is."""


class Home(ABC):
    """A server's folder, and what is remembered of the server beside it."""

    folder: Path
    password: str
    port: int = 0  # where it served last; 0 if it never did
    is_new: bool = True
    descriptor: int | None = None  # what a process has to inherit to reach `folder`

    @abstractmethod
    def guard(self, pid: int, stop_signal: str) -> list[str]:
        """The command that ends the server with this process id when its standard input ends."""

    @abstractmethod
    def close(self) -> None:
        """Be done with it, once the server has stopped."""

    def filled(self) -> None:  # noqa: B027  # only a kept one remembers
        """Remember that the folder holds all that the server needs before its first start."""

    def started(self, pid: int, began: float, port: int) -> None:  # noqa: B027  # likewise
        """Remember what runs."""

    def left_behind(self) -> tuple[int, float]:
        """The process id of a server that was not stopped, and when it began; zeros where there is none."""
        return 0, 0.0


class TemporaryHome(Home):
    """A folder that is gone when the server is."""

    def __init__(self, key: str, account: Account | None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"portico-{key}-"))
        self.password = secrets.token_hex(16)
        _give(self.folder, account)

    def guard(self, pid: int, stop_signal: str) -> list[str]:  # noqa: ARG002  # its data is not worth an orderly end
        return ["/bin/sh", "-c", _KILL_AND_REMOVE, "guard", str(pid), str(self.folder)]

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class _Remembered:
    password: str
    filled: bool = False
    port: int = 0
    pid: int = 0
    began: float = 0.0


class PersistentDataDir(Home):
    """A folder that outlives the server: the next start finds the data, the password and the port.

    Args:
        parent: the folder of all servers that are kept together; `{key}.json` in it, for its owner's eyes only, is what
            is remembered.
        key: the server's word.
        account: whom the server runs as, where that is not this process's own account.

    Raises:
        HomeUnusable: the folder can't be written, or holds data whose password is lost.
    """

    def __init__(self, parent: Path, key: str, account: Account | None) -> None:
        self._file = parent / f"{key}.json"
        self._real = parent / key
        try:
            self._real.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._remembered = self._recall()
            self._save(self._remembered)
            if not self._remembered.filled:
                _empty(self._real)  # of what a start that was cut short left
            _give(self._real, account)
            self.folder = self._real.absolute() if account is None else self._reached_by_descriptor()
        except OSError as error:
            raise HomeUnusable(f"{self._real} can't be used for a server's data: {error.strerror}") from error
        self.password = self._remembered.password
        self.port = self._remembered.port
        self.is_new = not self._remembered.filled

    def guard(self, pid: int, stop_signal: str) -> list[str]:
        return ["/bin/sh", "-c", _STOP_OR_KILL, "guard", str(pid), stop_signal]

    def close(self) -> None:
        with suppress(FileNotFoundError):  # somebody has removed the folder: there is nothing to remember
            self._save(replace(self._remembered, pid=0, began=0.0))
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def filled(self) -> None:
        self._save(replace(self._remembered, filled=True))
        self.is_new = False

    def started(self, pid: int, began: float, port: int) -> None:
        self._save(replace(self._remembered, pid=pid, began=began, port=port))

    def left_behind(self) -> tuple[int, float]:
        return self._remembered.pid, self._remembered.began

    def _recall(self) -> _Remembered:
        if not self._file.exists():
            if any(self._real.iterdir()):
                raise HomeUnusable(
                    f"{self._real} holds data, and {self._file} with its password is gone: restore that file, or move "
                    "the folder away to begin anew"
                )
            return _Remembered(password=secrets.token_hex(24))
        try:
            return _Remembered(**json.loads(self._file.read_text("utf-8")))
        except (ValueError, TypeError) as error:
            raise HomeUnusable(f"{self._file} is damaged: restore it from a copy") from error

    def _save(self, remembered: _Remembered) -> None:
        draft = self._file.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(remembered), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._file)
        self._remembered = remembered

    def _reached_by_descriptor(self) -> Path:
        """The folder by a way that needs no right to enter the folders above it.

        Root starts PostgreSQL as another account, which may enter neither /root nor what is root's alone.
        """
        if sys.platform != "linux":
            return self._real.absolute()
        self.descriptor = os.open(self._real, os.O_RDONLY | os.O_DIRECTORY)
        return Path(f"/proc/self/fd/{self.descriptor}")


def _give(folder: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
