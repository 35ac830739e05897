"""Several servers that serve as long as a block of code runs, whatever happens to them."""

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
"""seconds before a server that died is started again: doubled each time, until it has lived for `STEADY` seconds"""
STEADY: Final = 30.0
_LOOK = 1.0  # seconds between two looks at the length of a log


class KeptServers:
    """Starts servers side by side, starts one that dies again on its port and data, stops all at the end.

    Raises:
        ServerFailed: from `with`, where one does not start; the others are then stopped.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._stopping = threading.Event()
        self._turns = {server: threading.Lock() for server in servers}  # who may start or stop it
        self._watchers = [
            threading.Thread(target=self._watch, args=[server], name=f"watches {server.name}", daemon=True)
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
        with self._turns[server]:
            server.stop()

    def _watch(self, server: Server) -> None:
        deaths = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            status = self._ended(server)
            if self._stopping.is_set():
                return
            deaths = 0 if time.monotonic() - began > STEADY else deaths + 1
            wait = RESTART_BACKOFF.delay(deaths)
            logger.error("server_exited", server=server.name, status=status, restart_in_seconds=wait)
            if not self._stopping.wait(wait):
                self._restart(server)

    def _ended(self, server: Server) -> int | None:
        """How it ended, once it has; None where it is to stop."""
        while not self._stopping.is_set():
            if (status := server.ended(within=_LOOK)) is not None:
                return status
            server.bound_log()
        return None

    def _restart(self, server: Server) -> None:
        with self._turns[server]:
            if self._stopping.is_set():
                return
            try:
                server.restart()
            except ServerFailed as error:
                problem = mask_url(str(error))
                logger.error("server_not_started", server=server.name, problem=problem)  # noqa: TRY400 no trace helps
            else:
                logger.warning("server_restarted", server=server.name)
