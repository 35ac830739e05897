import socket
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from portico.servers.programs import find_program
from portico.servers.server import HOST, Server

_TIMEOUT = 5.0  # seconds
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class NginxServer(Server):
    """A private NGINX. It returns 404 until `serve` configures it. Every process on this machine may call it."""

    name: ClassVar[str] = "NGINX"
    key: ClassVar[str] = "nginx"
    accounts: ClassVar[tuple[str, ...]] = ("www-data", "nginx")
    _site: str | None = None

    def find_programs(self) -> None:
        self._nginx = find_program("nginx")

    def prepare(self) -> None:
        """Do nothing: the server creates its files."""

    def configure(self) -> None:
        self._configure("nginx.conf", self._site or f"server {{ listen {HOST}:{self.port}; return 404; }}\n")

    def command(self) -> Sequence[str | Path]:
        return self._command("nginx.conf")

    def is_ready(self) -> bool:
        """Return whether it answers a malformed request. It does so by itself, whichever site it serves."""
        try:
            with socket.create_connection((HOST, self.port), timeout=_TIMEOUT) as connection:
                connection.sendall(b"-\r\n\r\n")
                return connection.recv(1) != b""
        except OSError:
            return False

    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def serve(self, site: str) -> None:
        """Restart with `site` in the `http` block, on the same port.

        Raises:
            ServerFailed: NGINX rejects it; has its message.
        """
        self._site = site
        self.restart()

    def check(self, site: str) -> None:
        """Check `site` as part of the `http` block (`nginx -t`).

        Raises:
            ServerFailed: NGINX rejects it; has its message.
        """
        self._configure("checked.conf", site)
        self.run(*self._command("checked.conf"), "-t")

    def _configure(self, name: str, site: str) -> None:
        included = self.write(f"site-of-{name}", site)
        folders = "\n".join(f"    {each}_temp_path {self.folder / each};" for each in _TEMPORARY)
        self.write(
            name,
            f"worker_processes 1;\ndaemon off;\npid {self.folder / name}.pid;\nerror_log stderr;\n"
            f"events {{ }}\nhttp {{\n    access_log off;\n{folders}\n    include {included};\n}}\n",
        )

    def _command(self, name: str) -> Sequence[str | Path]:
        return [self._nginx, "-p", self.folder, "-e", "stderr", "-c", self.folder / name]
