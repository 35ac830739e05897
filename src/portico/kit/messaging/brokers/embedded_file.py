"""The file of the embedded broker: queues of messages in SQLite, for all processes of one machine."""

import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from portico.kit.messaging.brokers.base import Message

_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000")
_TABLES = """
    CREATE TABLE IF NOT EXISTS wanted (consumers TEXT NOT NULL, type TEXT NOT NULL, PRIMARY KEY (type, consumers));
    CREATE TABLE IF NOT EXISTS messages (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        consumers TEXT NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        key TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS messages_of_consumers ON messages (consumers, number);
    CREATE TABLE IF NOT EXISTS leases (consumers TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL);
"""

LISTENERS = ""
"""The consumers of what everyone who listens is to hear: the last KEPT messages are there for all of them to read."""

KEPT = 256
_TRIM = """
    DELETE FROM messages WHERE consumers = ?1 AND number <= (
        SELECT number FROM messages WHERE consumers = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2
    )
"""

Numbered = tuple[int, Message]


class BrokerFile:
    """What one process does with the file, all of it in one thread.

    A process that is killed loses nothing that was committed. When the machine loses its power the last moments may
    be gone (`synchronous=NORMAL`, as in the services' own files); the senders' event logs still have them.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in _PRAGMAS:
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_TABLES)

    def declare(self, group: str, types: Collection[str]) -> None:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM wanted WHERE consumers = ?", (group,))
            self._connection.executemany(
                "INSERT INTO wanted (consumers, type) VALUES (?, ?)", [(group, each) for each in sorted(types)]
            )

    def listen(self, types: Collection[str]) -> int:
        """Have messages of `types` kept for listeners from now on; the number after which they are new."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT OR IGNORE INTO wanted (consumers, type) VALUES (?, ?)", [(LISTENERS, each) for each in types]
            )
            newest = "SELECT coalesce(max(number), 0) FROM messages WHERE consumers = ?"
            [found] = self._connection.execute(newest, (LISTENERS,)).fetchone()
            return int(found)

    def add(self, messages: Sequence[Message]) -> None:
        """A row for each message and group that wants it, all or none."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO messages (consumers, id, type, key, body)"
                " SELECT consumers, ?, ?, ?, ? FROM wanted WHERE type = ?",
                [(each.id, each.type, each.key, each.body, each.type) for each in messages],
            )
            self._connection.execute(_TRIM, (LISTENERS, KEPT))

    def after(self, group: str, number: int, limit: int, limit_bytes: int) -> list[Numbered]:
        """The group's messages with higher numbers, in order: numbers go up in the order of commits, as one writes at a time.

        At most `limit`, and no more once their bodies have come to `limit_bytes`.
        """
        rows = self._connection.execute(
            "SELECT number, id, type, key, body FROM messages WHERE consumers = ? AND number > ? ORDER BY number LIMIT ?",
            (group, number, limit),
        )
        found: list[Numbered] = []
        for row in rows:
            found.append((row[0], Message(*row[1:])))
            limit_bytes -= len(row[4])
            if limit_bytes <= 0:
                break
        rows.close()
        return found

    def remove(self, numbers: Iterable[int]) -> None:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM messages WHERE number = ?", [(each,) for each in numbers])

    def count(self, group: str) -> int:
        [found] = self._connection.execute("SELECT count(*) FROM messages WHERE consumers = ?", (group,)).fetchone()
        return int(found)

    def version(self) -> int:
        """A number that changes when another process has written."""
        [found] = self._connection.execute("PRAGMA data_version").fetchone()
        return int(found)

    def lead(self, group: str, owner: str, seconds: float) -> bool:
        """Whether `owner` may consume for the group from now on, for `seconds`: one at a time, or order would be lost."""
        now = time.time()
        with self._connection:
            taken = self._connection.execute(
                "INSERT INTO leases VALUES (?1, ?2, ?3) ON CONFLICT (consumers) DO UPDATE SET owner = ?2, until = ?3"
                " WHERE owner = ?2 OR until < ?4",
                (group, owner, now + seconds, now),
            )
            return bool(taken.rowcount)

    def hand_back(self, group: str, owner: str) -> None:
        with self._connection:
            self._connection.execute("DELETE FROM leases WHERE consumers = ? AND owner = ?", (group, owner))

    def close(self) -> None:
        self._connection.close()
