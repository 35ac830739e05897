from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import redis

from portico.servers.programs import find_program
from portico.servers.server import HOST, Server


class RedisServer(Server):
    """A private Redis with a password. Its data survives `kill` and `restart` only if it is `durable`.

    It flushes to the disk every second: its data can be recreated, and a flush for each command takes milliseconds.
    """

    name: ClassVar[str] = "Redis"
    key: ClassVar[str] = "redis"
    accounts: ClassVar[tuple[str, ...]] = ("redis",)

    def find_programs(self) -> None:
        self._redis = find_program("redis-server", "valkey-server")

    def prepare(self) -> None:
        """Do nothing: the server creates its files."""

    def configure(self) -> None:
        self.write(
            "redis.conf",
            f"bind {HOST}\n"
            f"requirepass {self.password}\n"
            f"dir {self.folder}\n"
            'save ""\n'
            f"appendonly {'yes' if self.durable else 'no'}\n"
            "appendfsync everysec\n",
        )

    def command(self) -> Sequence[str | Path]:
        return [self._redis, self.folder / "redis.conf", "--port", str(self.port)]

    def is_ready(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def url(self, database: int = 0) -> str:
        """Return the address of one of the sixteen logical databases."""
        return f"redis://:{self.password}@{HOST}:{self.port}/{database}"

    def client(self) -> redis.Redis:
        """Return a client, for a test that checks stored values."""
        return redis.Redis.from_url(self.url(), socket_timeout=5, socket_connect_timeout=5)

    def flush(self) -> None:
        """Clear every logical database."""
        with self.client() as client:
            client.flushall()
