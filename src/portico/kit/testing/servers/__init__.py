"""Private servers, for tests and for `portico up --servers`: started from the programs of this machine on free ports."""

from portico.kit.testing.servers.homes import HomeUnusable
from portico.kit.testing.servers.keeping import KeptServers
from portico.kit.testing.servers.mariadb import MariaDBServer
from portico.kit.testing.servers.nats import NatsServer
from portico.kit.testing.servers.postgresql import PostgreSQLServer
from portico.kit.testing.servers.programs import ProgramMissing
from portico.kit.testing.servers.rabbitmq import RabbitMQServer
from portico.kit.testing.servers.redis import RedisServer
from portico.kit.testing.servers.server import Server, ServerFailed

__all__ = [
    "HomeUnusable",
    "KeptServers",
    "MariaDBServer",
    "NatsServer",
    "PostgreSQLServer",
    "ProgramMissing",
    "RabbitMQServer",
    "RedisServer",
    "Server",
    "ServerFailed",
]
