import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from portico.servers.programs import find_program
from portico.servers.server import HOST, Server, free_port

USER = "portico"
_HEAD = struct.Struct(">BHI")
_METHOD = struct.Struct(">HH")
_TIMEOUT = 5.0  # seconds
_PACKAGED = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's program on PATH runs only as its own account

# The server has its own Erlang name service, which ends with it. The machine may have none, and one that is started
# as a daemon would continue after the tests.
_RUN = """
"$1" -address 127.0.0.1 -port "$ERL_EPMD_PORT" &
names=$!
"$2" &
server=$!
trap 'kill -TERM $server' TERM
while kill -0 $server 2>/dev/null; do wait $server; done
kill $names
"""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class RabbitMQServer(Server):
    """A private RabbitMQ without plugins, with the administrator `portico` and a password.

    Confirmed messages of quorum queues survive the process, `durable` or not: it always flushes.
    """

    name: ClassVar[str] = "RabbitMQ"
    key: ClassVar[str] = "rabbitmq"
    accounts: ClassVar[tuple[str, ...]] = ("rabbitmq",)

    def find_programs(self) -> None:
        self._rabbitmq = find_program("rabbitmq-server", beside=_PACKAGED)
        self._epmd = find_program("epmd")

    def prepare(self) -> None:
        """Do nothing: the server creates its files."""

    def configure(self) -> None:
        files = {
            "plugins": "[].\n",
            "environment.sh": "",
            "rabbitmq.conf": (
                f"default_user = {USER}\n"
                f"default_pass = {self.password}\n"
                "loopback_users = none\n"
                "log.console.level = warning\n"
                "raft.wal_max_size_bytes = 64000000\n"
            ),
        }
        for name, text in files.items():
            self.write(name, text)

    def command(self) -> Sequence[str | Path]:
        settings = {
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": free_port(),
            "ERL_AFLAGS": "-start_epmd false",
            "RABBITMQ_ALLOW_INPUT": "1",  # without a shell, which would receive the signals
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_DIST_PORT": free_port(),
            "RABBITMQ_NODENAME": "portico@localhost",  # data files have this name; the name service knows no other node
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_MNESIA_BASE": self.folder / "data",
            "RABBITMQ_LOG_BASE": self.folder / "log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": self.folder / "rabbitmq",
            "RABBITMQ_CONF_ENV_FILE": self.folder / "environment.sh",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.folder / "plugins",
        }
        variables = [f"{name}={value}" for name, value in settings.items()]
        return ["/usr/bin/env", *variables, "/bin/sh", "-c", _RUN, "sh", self._epmd, self._rabbitmq]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=_TIMEOUT) as link, link.makefile("rwb") as stream:
                stream.write(b"AMQP\x00\x00\x09\x01")
                stream.flush()
                if _method(stream.read(7), stream) != (10, 10):
                    return False
                stream.write(_sign_in(self.password))
                stream.flush()
                return _method(stream.read(7), stream) == (10, 30)
        except OSError:
            return False  # it accepts connections before it is ready

    def url(self) -> str:
        """Return the address of the virtual host `/`."""
        return f"amqp://{USER}:{self.password}@{HOST}:{self.port}/"


def _method(head: bytes, stream: _Readable) -> tuple[int, int] | None:
    """Return the class and method of the frame that begins with `head` (AMQP 0-9-1, section 2.3.5)."""
    if len(head) < _HEAD.size or head[:4] == b"AMQP":
        return None
    kind, channel, size = _HEAD.unpack(head)
    frame = stream.read(size + 1)
    if (kind, channel) != (1, 0) or len(frame) < size + 1:
        return None
    return _METHOD.unpack_from(frame)


def _sign_in(password: str) -> bytes:
    """Return the frame of Connection.StartOk with the account's name and password."""
    response = f"\x00{USER}\x00{password}".encode()
    method = (
        _METHOD.pack(10, 11)
        + struct.pack(">I", 0)  # no properties
        + b"\x05PLAIN"
        + struct.pack(">I", len(response))
        + response
        + b"\x05en_US"
    )
    return _HEAD.pack(1, 0, len(method)) + method + b"\xce"
