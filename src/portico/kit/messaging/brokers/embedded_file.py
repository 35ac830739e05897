"""SQLite file of the embedded broker: message queues shared by all processes of one machine."""

import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from portico.kit.foundation.clock import CLOCK_DIFFERENCE
from portico.kit.messaging.brokers.base import PARTITIONS, Message, partition_of

_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000")
_TABLES = """
    CREATE TABLE IF NOT EXISTS wanted (consumers TEXT NOT NULL, type TEXT NOT NULL, PRIMARY KEY (type, consumers));
    CREATE TABLE IF NOT EXISTS messages (
        number INTEGER PRIMARY KEY AUTOINCREMENT, consumers TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, key
        TEXT NOT NULL, body BLOB NOT NULL, partition INTEGER NOT NULL
    ); CREATE INDEX IF NOT EXISTS messages_of_partitions ON messages (consumers, number, partition);
    CREATE TABLE IF NOT EXISTS members (
        consumers TEXT NOT NULL, owner TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (consumers, owner)
    );
    CREATE TABLE IF NOT EXISTS partitions (
        consumers TEXT NOT NULL, partition INTEGER NOT NULL, owner TEXT NOT NULL, until REAL NOT NULL,
        PRIMARY KEY (consumers, partition)
    );
"""

SUBSCRIBERS = ""
"""Group whose messages every subscriber reads. The newest SUBSCRIBER_BACKLOG messages are kept."""

SUBSCRIBER_BACKLOG = 256
_TRIM = """
    DELETE FROM messages WHERE consumers = ?1 AND number <= (
        SELECT number FROM messages WHERE consumers = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2
    )
"""

_EXPIRE = (
    "DELETE FROM members WHERE consumers = ? AND (until < ? OR until > ?)",
    "DELETE FROM partitions WHERE consumers = ? AND (until < ? OR until > ?)",
)
_LEAVE = (
    "DELETE FROM members WHERE consumers = ? AND owner = ?",
    "DELETE FROM partitions WHERE consumers = ? AND owner = ?",
)

Numbered = tuple[int, Message]


@dataclass(frozen=True, slots=True)
class Share:
    """The partitions of a group that one member holds.

    Attributes:
        held: its partitions, including the surplus.
        surplus: partitions that it has to give up, because there are more members.
        members: how many there are.
    """

    held: frozenset[int]
    surplus: frozenset[int]
    members: int


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
                "INSERT INTO messages (consumers, id, type, key, body, partition)"
                " SELECT consumers, ?, ?, ?, ?, ? FROM wanted WHERE type = ?",
                [(each.id, each.type, each.key, each.body, partition_of(each.key), each.type) for each in messages],
            )
            self._connection.execute(_TRIM, (SUBSCRIBERS, SUBSCRIBER_BACKLOG))

    def after(
        self, group: str, number: int, limit: int, limit_bytes: int, partitions: Collection[int] = range(PARTITIONS)
    ) -> list[Numbered]:
        """Return the group's messages of some partitions with higher numbers, in order.

        Numbers increase in commit order because there is one writer at a time. The result has at most `limit` messages
        and ends once their bodies reach `limit_bytes`.
        """
        chosen = "" if len(partitions) == PARTITIONS else f"AND partition IN ({', '.join(map(str, partitions))})"
        after = f"WHERE consumers = ? AND number > ? {chosen} ORDER BY number LIMIT ?"
        query = f"SELECT number, id, type, key, body FROM messages {after}"  # noqa: S608  # only integers are inserted
        rows = self._connection.execute(query, (group, number, limit))
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

    def share(self, group: str, owner: str, seconds: float) -> Share:
        """Renew the membership and the partitions of `owner` for `seconds`, and take free partitions up to its share.

        A partition has one owner at a time, which keeps its messages in order. Shares differ by at most one partition.
        """
        now = time.time()
        too_late = now + seconds + CLOCK_DIFFERENCE.total_seconds()  # the clock was set back
        execute = self._connection.execute
        with self._connection:
            execute("BEGIN IMMEDIATE")
            for expire in _EXPIRE:
                execute(expire, (group, now, too_late))
            execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?)", (group, owner, now + seconds))
            execute("UPDATE partitions SET until = ? WHERE consumers = ? AND owner = ?", (now + seconds, group, owner))
            members = [
                each for (each,) in execute("SELECT owner FROM members WHERE consumers = ? ORDER BY 1", (group,))
            ]
            owners = dict(execute("SELECT partition, owner FROM partitions WHERE consumers = ?", (group,)))
            held = sorted(each for each, holder in owners.items() if holder == owner)
            wanted = PARTITIONS // len(members) + (members.index(owner) < PARTITIONS % len(members))
            taken = [each for each in range(PARTITIONS) if each not in owners][: max(0, wanted - len(held))]
            self._connection.executemany(
                "INSERT INTO partitions VALUES (?, ?, ?, ?)", [(group, each, owner, now + seconds) for each in taken]
            )
        return Share(frozenset(held + taken), frozenset(held[wanted:]), len(members))

    def give_up(self, group: str, owner: str, partitions: Collection[int]) -> None:
        """Give up partitions, so that other members can take them."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "DELETE FROM partitions WHERE consumers = ? AND partition = ? AND owner = ?",
                [(group, each, owner) for each in partitions],
            )

    def leave(self, group: str, owner: str) -> None:
        """Give up the membership and all partitions."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for leave in _LEAVE:
                self._connection.execute(leave, (group, owner))

    def close(self) -> None:
        self._connection.close()
