"""Following a row: whoever waits in this process for a change of something is woken by the commit of one."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class ChangeNotifier:
    """Those who follow something in a database, by its identifier.

    They are woken by commits of this process only, and look again from time to time for what another one changed.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def follow(self, subject: str) -> Iterator[asyncio.Event]:
        """An event that is set at each change; who waits for it clears it before looking."""
        changed = asyncio.Event()
        self._waiting.setdefault(subject, set()).add(changed)
        try:
            yield changed
        finally:
            waiting = self._waiting[subject]
            waiting.discard(changed)
            if not waiting:
                del self._waiting[subject]

    def tell(self, subject: str) -> None:
        """Wake those who follow `subject`."""
        for changed in self._waiting.get(subject, ()):
            changed.set()
