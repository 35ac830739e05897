"""Private servers for tests: started from the programs of this machine on free ports, gone when the run ends."""

from portico.kit.testing.servers.mariadb import MariaDBServer
from portico.kit.testing.servers.postgresql import PostgreSQLServer
from portico.kit.testing.servers.programs import ProgramMissing
from portico.kit.testing.servers.redis import RedisServer
from portico.kit.testing.servers.server import Server, ServerFailed

__all__ = ["MariaDBServer", "PostgreSQLServer", "ProgramMissing", "RedisServer", "Server", "ServerFailed"]
