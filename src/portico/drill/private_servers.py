"""The private servers of a drill."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from portico.kit.foundation.errors import CommandError
from portico.kit.settings import mask_url
from portico.servers import PostgreSQLServer, ProgramMissing, RabbitMQServer, RedisServer, Server, ServerFailed

DATABASE: Final = "portico"
_TERMINATE_CONNECTIONS = (
    f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"  # noqa: S608  # a constant of this module
    f" WHERE datname = '{DATABASE}' AND pid <> pg_backend_pid()"
)


@dataclass(frozen=True)
class PrivateServers:
    """The servers of a drill, all of which may be killed.

    Args:
        postgresql: holds the databases; its connections may be terminated too.
        redis: holds caches and rate limits.
        rabbitmq: delivers events; confirmed messages survive a kill.
    """

    postgresql: PostgreSQLServer
    redis: RedisServer
    rabbitmq: RabbitMQServer

    @property
    def all(self) -> tuple[Server, ...]:
        return (self.postgresql, self.rabbitmq, self.redis)

    @property
    def variables(self) -> dict[str, str]:
        """The settings of a system that uses these servers."""
        return {
            "DATABASE_URL": self.postgresql.url(),
            "REDIS_URL": self.redis.url(),
            "RABBITMQ_URL": self.rabbitmq.url(),
            "PRIVATE_SERVERS": "true",
        }

    def terminate_connections(self) -> None:
        """Terminate all connections to the databases."""
        self.postgresql.execute(_TERMINATE_CONNECTIONS)


@contextmanager
def start_private_servers() -> Iterator[PrivateServers]:
    """Run servers in temporary folders for the duration of the block.

    Raises:
        CommandError: a program is not installed, or a server does not start.
    """
    servers: list[Server] = []
    try:
        servers.append(postgresql := PostgreSQLServer(durable=True, database=DATABASE))
        servers.append(redis := RedisServer(durable=True))
        servers.append(rabbitmq := RabbitMQServer())
        with ThreadPoolExecutor(len(servers)) as threads:
            list(threads.map(lambda server: server.start(), servers))
        yield PrivateServers(postgresql, redis, rabbitmq)
    except ProgramMissing as missing:
        raise CommandError(f"--on servers needs a program that is not installed: {missing}.") from missing
    except ServerFailed as error:
        raise CommandError(mask_url(str(error))) from error
    finally:
        with ThreadPoolExecutor(max(1, len(servers))) as threads:
            list(threads.map(lambda server: server.stop(), servers))
