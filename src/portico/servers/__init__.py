"""Private servers, for tests and for `portico up --servers`: started from the programs of this machine on free ports."""

from portico.servers.homes import HomeUnusable
from portico.servers.kafka import KafkaServer
from portico.servers.keeping import KeptServers
from portico.servers.mariadb import MariaDBServer
from portico.servers.nats import NatsServer
from portico.servers.nginx import NginxServer
from portico.servers.postgresql import PostgreSQLServer
from portico.servers.programs import ProgramMissing
from portico.servers.rabbitmq import RabbitMQServer
from portico.servers.redis import RedisServer
from portico.servers.server import Server, ServerFailed

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
