"""Private servers for tests, the drill and `portico up --servers`: started from installed programs on free ports."""

from portico.servers.data_dir import DataDirUnusable
from portico.servers.kafka import KafkaServer
from portico.servers.mariadb import MariaDBServer
from portico.servers.nats import NatsServer
from portico.servers.nginx import NginxServer
from portico.servers.postgresql import PostgreSQLServer
from portico.servers.programs import ProgramMissing
from portico.servers.rabbitmq import RabbitMQServer
from portico.servers.redis import RedisServer
from portico.servers.server import Server, ServerFailed, free_port
from portico.servers.supervision import SupervisedServers

__all__ = [
    "DataDirUnusable",
    "KafkaServer",
    "MariaDBServer",
    "NatsServer",
    "NginxServer",
    "PostgreSQLServer",
    "ProgramMissing",
    "RabbitMQServer",
    "RedisServer",
    "Server",
    "ServerFailed",
    "SupervisedServers",
    "free_port",
]
