import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from portico.servers.programs import find_program
from portico.servers.server import HOST, Server

USER = "portico"
_TIMEOUT = 5.0  # seconds


class NatsServer(Server):
    """A private NATS with JetStream, with the account `portico` and a password.

    Confirmed messages survive the process, `durable` or not. It flushes to the disk at its own intervals.
    """

    name: ClassVar[str] = "NATS"
    key: ClassVar[str] = "nats"
    accounts: ClassVar[tuple[str, ...]] = ("nats",)

    def find_programs(self) -> None:
        self._nats = find_program("nats-server")

    def prepare(self) -> None:
        """Do nothing: the server creates its files."""

    def configure(self) -> None:
        self.write(
            "nats.conf",
            f'host: "{HOST}"\n'
            f'jetstream: {{ store_dir: "{self.folder / "data"}" }}\n'
            f'authorization: {{ user: "{USER}", password: "{self.password}" }}\n',
        )

    def command(self) -> Sequence[str | Path]:
        return [self._nats, "--config", self.folder / "nats.conf", "--port", str(self.port)]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=_TIMEOUT) as link, link.makefile("rwb") as lines:
                hello = json.loads(lines.readline().removeprefix(b"INFO "))
                sign_in = {"user": USER, "pass": self.password, "verbose": False, "pedantic": False}
                lines.write(b"CONNECT " + json.dumps(sign_in).encode() + b"\r\nPING\r\n")
                lines.flush()
                return bool(hello.get("jetstream")) and lines.readline().strip() == b"PONG"
        except (OSError, ValueError):
            return False  # it accepts connections before it is ready

    def url(self) -> str:
        return f"nats://{USER}:{self.password}@{HOST}:{self.port}"
