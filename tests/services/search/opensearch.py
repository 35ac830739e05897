"""A private OpenSearch: one node inside a small Java program, on a free port."""

import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from portico.servers import ProgramMissing, Server
from portico.servers.programs import find_program
from portico.servers.server import HOST, free_port

LIBRARIES = Path(os.environ.get("OPENSEARCH_HOME", "/usr/local/share/opensearch"))


class OpenSearchServer(Server):
    """OpenSearch without accounts, for tests on the loopback address."""

    name: ClassVar[str] = "OpenSearch"
    key: ClassVar[str] = "opensearch"
    accounts: ClassVar[tuple[str, ...]] = ()

    def find_programs(self) -> None:
        self._java = find_program("java")
        if not any(LIBRARIES.glob("opensearch-2.*.jar")):
            raise ProgramMissing(["opensearch"])

    def prepare(self) -> None:
        """Nothing: the node creates its files."""

    def command(self) -> Sequence[str | Path]:
        memory = ("-Xms384m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        options = (*memory, "-Djava.security.manager=allow", "-cp", f"{LIBRARIES}:{LIBRARIES}/*")
        return [self._java, *options, "OpenSearchNode", self.folder, str(self.port), str(free_port())]

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url()}/_cluster/health", timeout=5) as answer:  # noqa: S310  # our own server
                return answer.status == 200
        except OSError:
            return False

    def url(self) -> str:
        return f"http://{HOST}:{self.port}"
