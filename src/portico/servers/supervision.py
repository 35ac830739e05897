"""Supervise servers: restart each one that exits."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

from portico.kit.foundation.backoff import Backoff
from portico.kit.settings import mask_url
from portico.kit.telemetry.logs import get_logger
from portico.servers.server import Server, ServerFailed

logger = get_logger(__name__)

RESTART_BACKOFF: Final = Backoff(base=0.1, limit=5.0, jitter=0.0)
"""Seconds before a server that exited is restarted. The delay doubles until a server has run for `STEADY` seconds."""
STEADY: Final = 30.0
_POLL = 1.0  # seconds between two checks of the size of a log


class SupervisedServers:
    """Starts servers in parallel, restarts each one that exits on its port and data, and stops all at the end.

    Raises:
        ServerFailed: on entry, if a server does not start; the others are then stopped.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._stopping = threading.Event()
        self._locks = {server: threading.Lock() for server in servers}  # held while a server is started or stopped
        self._watchers = [
            threading.Thread(target=self._watch, args=[server], name=f"supervisor of {server.name}", daemon=True)
            for server in servers
        ]

    def __enter__(self) -> Self:
        try:
            with ThreadPoolExecutor(max(1, len(self._servers))) as threads:
                for started in [threads.submit(server.start) for server in self._servers]:
                    started.result()
        except BaseException:
            self._stop()
            raise
        for watcher in self._watchers:
            watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._stop()
        for watcher in self._watchers:
            watcher.join()

    def _stop(self) -> None:
        with ThreadPoolExecutor(max(1, len(self._servers))) as threads:
            for stopped in [threads.submit(self._stop_one, server) for server in self._servers]:
                stopped.result()

    def _stop_one(self, server: Server) -> None:
        with self._locks[server]:
            server.stop()

    def _watch(self, server: Server) -> None:
        failures = 0
        while not self._stopping.is_set():
            started_at = time.monotonic()
            status = self._wait_for_exit(server)
            if self._stopping.is_set():
                return
            failures = 0 if time.monotonic() - started_at > STEADY else failures + 1
            delay = RESTART_BACKOFF.delay(failures)
            logger.error("server_exited", server=server.name, status=status, restart_in_seconds=delay)
            if not self._stopping.wait(delay):
                self._restart(server)

    def _wait_for_exit(self, server: Server) -> int | None:
        """Wait for the server to exit; return its status, or None when the block ends."""
        while not self._stopping.is_set():
            if (status := server.wait_for_exit(_POLL)) is not None:
                return status
            server.rotate_log()
        return None

    def _restart(self, server: Server) -> None:
        with self._locks[server]:
            if self._stopping.is_set():
                return
            try:
                server.restart()
            except ServerFailed as error:
                problem = mask_url(str(error))
                logger.error("server_not_started", server=server.name, problem=problem)  # noqa: TRY400 the traceback does not help
            else:
                logger.warning("server_restarted", server=server.name)
