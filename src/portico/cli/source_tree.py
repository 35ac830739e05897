"""The Python files below some folders, and which of them have changed."""

import os
from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, int]  # modification time in nanoseconds, size in bytes
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


class SourceTree:
    """Python files that are watched for changes, by polling.

    Args:
        folders: where to look, including folders below. Hidden folders and installed packages are left out.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(folders)
        self._stamps = self._read()

    def changed(self) -> set[Path]:
        """Return the files that were changed, created or deleted since the last call."""
        before, self._stamps = self._stamps, self._read()
        return {path for path, _stamp in before.items() ^ self._stamps.items()}

    def _read(self) -> dict[Path, Stamp]:
        found: dict[Path, Stamp] = {}
        pending = [str(folder) for folder in self._folders]
        while pending:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        if entry.name.startswith(".") or entry.name in _SKIPPED:
                            continue
                        if entry.is_dir():
                            pending.append(entry.path)
                        elif entry.name.endswith(".py"):
                            status = entry.stat()
                            found[Path(entry.path)] = (status.st_mtime_ns, status.st_size)
            except OSError:
                continue  # deleted meanwhile
        return found
