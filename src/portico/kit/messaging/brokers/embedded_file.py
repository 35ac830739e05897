"""SQLite file of the embedded broker: message queues shared by all processes of one machine."""

import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from portico.kit.foundation.clock import CLOCK_DIFFERENCE
from portico.kit.messaging.brokers.base import Message

_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000")
_TABLES = """
    CREATE TABLE IF NOT EXISTS wanted (consumers TEXT NOT NULL, type TEXT NOT NULL, PRIMARY KEY (type, consumers));
    CREATE TABLE IF NOT EXISTS messages (
        number INTEGER PRIMARY KEY AUTOINCREMENT, consumers TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, key
        TEXT NOT NULL, body BLOB NOT NULL
    ); CREATE INDEX IF NOT EXISTS messages_of_consumers ON messages (consumers, number); CREATE TABLE IF NOT EXISTS
    leases (consumers TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL);
"""

SUBSCRIBERS = ""
"""Group whose messages every subscriber reads. The newest BROADCAST_LIMIT messages are kept."""

SUBSCRIBER_BACKLOG = 256
_TRIM = """
    DELETE FROM messages WHERE consumers = ?1 AND number <= (
        SELECT number FROM messages WHERE consumers = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2
    )
"""

Numbered = tuple[int, Message]


class BrokerFile:
    """Operations of one process on the file. All of them run in one thread.

    A killed process loses no committed message. A power failure can lose the last moments (`synchronous=NORMAL`, as in
    the services' own files); the senders' event logs still have those events.
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

    def subscribe(self, types: Collection[str]) -> int:
        """Keep messages of `types` for subscribers from now on. Return the highest existing message number."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT OR IGNORE INTO wanted (consumers, type) VALUES (?, ?)", [(SUBSCRIBERS, each) for each in types]
            )
            newest = "SELECT coalesce(max(number), 0) FROM messages WHERE consumers = ?"
            [found] = self._connection.execute(newest, (SUBSCRIBERS,)).fetchone()
            return int(found)

    def add(self, messages: Sequence[Message]) -> None:
        """Insert a row for each message and each group that declared its type, in one transaction."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO messages (consumers, id, type, key, body)"
                " SELECT consumers, ?, ?, ?, ? FROM wanted WHERE type = ?",
                [(each.id, each.type, each.key, each.body, each.type) for each in messages],
            )
            self._connection.execute(_TRIM, (SUBSCRIBERS, SUBSCRIBER_BACKLOG))

    def after(self, group: str, number: int, limit: int, limit_bytes: int) -> list[Numbered]:
        """Return the group's messages with higher numbers, in order.

        Numbers increase in commit order because there is one writer at a time. The result has at most `limit` messages
        and ends once their bodies reach `limit_bytes`.
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
        """Return a number that changes when another process has written."""
        [found] = self._connection.execute("PRAGMA data_version").fetchone()
        return int(found)

    def lead(self, group: str, owner: str, seconds: float) -> bool:
        """Acquire or renew the group's lease for `seconds`. Return whether `owner` holds it.

        One consumer at a time keeps messages in order.
        """
        now = time.time()
        with self._connection:
            changed = self._connection.execute(
                "INSERT INTO leases VALUES (?1, ?2, ?3) ON CONFLICT (consumers) DO UPDATE SET owner = ?2, until = ?3"
                " WHERE owner = ?2 OR until < ?4 OR until > ?5",
                (group, owner, now + seconds, now, now + seconds + CLOCK_DIFFERENCE.total_seconds()),
            )
            return bool(changed.rowcount)

    def release(self, group: str, owner: str) -> None:
        with self._connection:
            self._connection.execute("DELETE FROM leases WHERE consumers = ? AND owner = ?", (group, owner))

    def close(self) -> None:
        self._connection.close()
