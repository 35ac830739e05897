"""Where lines go: a bounded queue that a thread empties, since a full pipe must not stop the event loop."""

import atexit
import contextlib
import threading
from collections import deque
from typing import BinaryIO

_MOST_LINES = 20_000
_GATHERING = 0.02  # seconds that lines are gathered before they are written: to wake the thread is what costs


class Sink:
    """Writes lines to `stream` from a thread of its own, in order.

    A full queue drops new lines and counts them. What was queued is written when the sink is closed and when the
    interpreter ends; only a killed process loses its last milliseconds.

    Args:
        stream: open for writing bytes.
        limit: how many lines may wait.
    """

    def __init__(self, stream: BinaryIO, *, limit: int = _MOST_LINES) -> None:
        self.dropped = 0
        self._stream = stream
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._asleep = True
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="portico-logs", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, line: bytes) -> None:
        """Queue `line`. Never waits; safe from any thread."""
        if len(self._lines) >= self._limit:
            self.dropped += 1
            return
        self._lines.append(line)
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def close(self) -> None:
        """Write what is queued and stop."""
        atexit.unregister(self.close)
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=2)  # a reader that has stopped reading must not keep the process from ending

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            self._closing.wait(_GATHERING)
            # Announced before the last look: a line that comes after it wakes the thread again.
            self._asleep = True
            self._empty()
        self._empty()

    def _empty(self) -> None:
        while self._lines:
            batch = [self._lines.popleft() for _ in range(min(len(self._lines), 1000))]
            # A closed or broken stream has nobody left to be told.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(b"".join(batch))
                self._stream.flush()
