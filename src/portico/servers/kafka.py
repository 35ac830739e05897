import os
import secrets
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from portico.servers.programs import ProgramMissing, find_program
from portico.servers.server import HOST, Server, free_port

USER = "portico"
_TIMEOUT = 5.0  # seconds

# Where distributions of Kafka install their jars; `make kafka` uses the first.
_LIBRARIES = (
    "usr/local/share/kafka/libs",
    "opt/kafka/libs",
    "opt/homebrew/opt/kafka/libexec/libs",
    "usr/local/opt/kafka/libexec/libs",
)
_SMALL = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


class KafkaServer(Server):
    """A private Kafka of one node (KRaft), with the account `portico` and a password.

    Confirmed messages survive the process, `durable` or not. It flushes to the disk at its own intervals.
    """

    name: ClassVar[str] = "Kafka"
    key: ClassVar[str] = "kafka"
    accounts: ClassVar[tuple[str, ...]] = ("kafka",)

    def find_programs(self) -> None:
        self._java = find_program("java")
        self._libraries = _find_libraries()

    def prepare(self) -> None:
        self.configure()
        cluster = "A" + secrets.token_urlsafe(16)[1:]  # 16 bytes that do not look like an option
        self.run(*self._run("kafka.tools.StorageTool"), "format", "-t", cluster, "-c", self._settings)

    def configure(self) -> None:
        controller = free_port()
        account = (
            f'org.apache.kafka.common.security.plain.PlainLoginModule required username="{USER}" '
            f'password="{self.password}" user_{USER}="{self.password}";'
        )
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "listeners": f"CLIENTS://{HOST}:{self.port or free_port()},CONTROLLER://{HOST}:{controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENTS",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,CLIENTS:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.clients.plain.sasl.jaas.config": account,
            "log.dirs": self.folder / "data",
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "broker.heartbeat.interval.ms": 200,
            "broker.session.timeout.ms": 1000,  # after which a killed broker may return
            "group.initial.rebalance.delay.ms": 0,
        }
        self._settings.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self._settings.chmod(0o644)  # only the server's account may enter the folder

    def command(self) -> Sequence[str | Path]:
        return [*self._run("kafka.Kafka"), self._settings]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=_TIMEOUT) as link:
                is_plain = _request(link, 17, 1, struct.pack(">h5s", 5, b"PLAIN"))
                secret = f"\x00{USER}\x00{self.password}".encode()
                return is_plain and _request(link, 36, 0, struct.pack(">i", len(secret)) + secret)
        except (OSError, struct.error):
            return False  # it accepts connections before it is ready

    def url(self) -> str:
        return f"kafka://{USER}:{self.password}@{HOST}:{self.port}"

    def _run(self, name: str) -> list[str | Path]:
        return [self._java, *_SMALL, "-cp", f"{self._libraries}/*", name]

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"


def _find_libraries() -> Path:
    named = [Path(os.environ["KAFKA_HOME"]) / "libs"] if os.environ.get("KAFKA_HOME") else []
    for folder in (*named, *(Path("/") / each for each in _LIBRARIES)):
        if any(folder.glob("kafka_2.*.jar")):
            return folder
    raise ProgramMissing(["kafka"])


def _request(link: socket.socket, api: int, version: int, body: bytes) -> bool:
    """Send a request; return whether the response has no error (protocol guide: SaslHandshake is 17, SaslAuthenticate 36)."""
    request = struct.pack(">hhih", api, version, 1, -1) + body
    link.sendall(struct.pack(">i", len(request)) + request)
    with link.makefile("rb") as stream:
        [size] = struct.unpack(">i", stream.read(4))
        _, error = struct.unpack_from(">ih", stream.read(size))
    return bool(error == 0)
