from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import redis

from portico.servers.programs import find_program
from portico.servers.server import HOST, Server


class RedisServer(Server):
    """A private Redis with a password. Only a `durable` one keeps its data over `kill` and `restart`.

    It flushes to the disk each second: what it holds can be made again, and a flush for each command costs milliseconds.
    """

    name: ClassVar[str] = "Redis"
    key: ClassVar[str] = "redis"
    accounts: ClassVar[tuple[str, ...]] = ("redis",)

    def find_programs(self) -> None:
        self._redis = find_program("redis-server", "valkey-server")

    def prepare(self) -> None:
        """It makes its files itself."""

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

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def url(self, database: int = 0) -> str:
        """The address of one of the sixteen logical databases."""
        return f"redis://:{self.password}@{HOST}:{self.port}/{database}"

    def client(self) -> redis.Redis:
        """A plain client, for a test that looks at what is stored."""
        return redis.Redis.from_url(self.url(), socket_timeout=5, socket_connect_timeout=5)

    def flush(self) -> None:
        """Empty every logical database."""
        with self.client() as client:
            client.flushall()
