"""Private servers, for tests and for `portico up --servers`: started from the programs of this machine on free ports."""

from portico.kit.servers.homes import HomeUnusable
from portico.kit.servers.kafka import KafkaServer
from portico.kit.servers.keeping import KeptServers
from portico.kit.servers.mariadb import MariaDBServer
from portico.kit.servers.nats import NatsServer
from portico.kit.servers.nginx import NginxServer
from portico.kit.servers.postgresql import PostgreSQLServer
from portico.kit.servers.programs import ProgramMissing
from portico.kit.servers.rabbitmq import RabbitMQServer
from portico.kit.servers.redis import RedisServer
from portico.kit.servers.server import Server, ServerFailed

__all__ = [
    "HomeUnusable",
    "KafkaServer",
    "KeptServers",
    "MariaDBServer",
    "NatsServer",
    "NginxServer",
    "PostgreSQLServer",
    "ProgramMissing",
    "RabbitMQServer",
    "RedisServer",
    "Server",
    "ServerFailed",
]
