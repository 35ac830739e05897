"""Log output: a bounded queue that a thread writes, so that a full pipe does not block the event loop."""

import atexit
import contextlib
import threading
from collections import deque
from typing import BinaryIO

_MAX_LINES = 20_000
_BATCH_DELAY = 0.02  # seconds to collect lines before writing, because waking the thread is expensive


class Sink:
    """Writes lines to `stream` from its own thread, in order.

    If the queue is full, new lines are dropped and counted. Queued lines are written when the sink is closed and when
    the interpreter exits. Only a killed process loses its last milliseconds.

    Args:
        stream: a binary stream.
        limit: maximum number of queued lines.
    """

    def __init__(self, stream: BinaryIO, *, limit: int = _MAX_LINES) -> None:
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
        """Queue `line`. Never blocks; safe from any thread."""
        if len(self._lines) >= self._limit:
            self.dropped += 1
            return
        self._lines.append(line)
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def close(self) -> None:
        """Write queued lines and stop."""
        atexit.unregister(self.close)
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=2)  # a blocked reader must not prevent the process from ending

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            self._closing.wait(_BATCH_DELAY)
            # Set before emptying the queue: a later line wakes the thread again.
            self._asleep = True
            self._write_lines()
        self._write_lines()

    def _write_lines(self) -> None:
        while self._lines:
            batch = [self._lines.popleft() for _ in range(min(len(self._lines), 1000))]
            # A closed or broken stream cannot be reported anywhere.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(b"".join(batch))
                self._stream.flush()
