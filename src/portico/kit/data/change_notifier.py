"""In-process notifications of changes: a commit wakes the tasks that follow the changed object."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class ChangeNotifier:
    """Tasks of this process that follow objects in a database, by the objects' ids.

    Only commits of this process wake them. They must also poll for changes by other processes.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def follow(self, subject: str) -> Iterator[asyncio.Event]:
        """Return an event that is set at each change. Clear it before reading the object."""
        changed = asyncio.Event()
        self._waiting.setdefault(subject, set()).add(changed)
        try:
            yield changed
        finally:
            waiting = self._waiting[subject]
            waiting.discard(changed)
            if not waiting:
                del self._waiting[subject]

    def notify(self, subject: str) -> None:
        """Wake the tasks that follow `subject`."""
        for changed in self._waiting.get(subject, ()):
            changed.set()

    def notify_all(self) -> None:
        """Wake all tasks, because the process stops."""
        for subject in self._waiting:
            self.notify(subject)
