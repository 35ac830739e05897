"""Idle connections to service instances."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from functools import lru_cache

from portico.gateway.upstreams.http_connection import HttpConnection
from portico.kit.calls.addresses import InstanceAddress
from portico.kit.calls.errors import Unreachable

CONNECT_TIMEOUT = 2.0
# Shorter than the 5 s after which uvicorn closes an idle connection, so that no request is sent on a closing one.
KEEP_ALIVE = 3.0
EXPIRY_INTERVAL = 1.0
MAX_IDLE = 256


class ConnectionPool:
    """Idle connections of each instance. The proxy limits the number of connections in use.

    Args:
        monotonic: The clock, in seconds; by default the event loop's.
    """

    def __init__(self, monotonic: Callable[[], float] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = monotonic or self._loop.time
        self._next_expiry = 0.0
        self._idle: dict[str, deque[HttpConnection]] = {}

    async def take(self, service: str, address: InstanceAddress) -> HttpConnection:
        """Return the most recently used idle connection, or a new one. Raises Unreachable."""
        idle = self.take_idle(address)
        if idle is not None:
            return idle
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, connection = await self._loop.create_connection(
                    lambda: HttpConnection(service),
                    address.host,
                    address.port,
                    ssl=_tls() if address.scheme == "https" else None,
                    server_hostname=address.authority.partition(":")[0] if address.scheme == "https" else None,
                )
        except OSError as error:  # includes time-outs and failed TLS handshakes
            raise Unreachable(service, type(error).__name__) from error
        return connection

    def take_idle(self, address: InstanceAddress) -> HttpConnection | None:
        """Return the most recently used idle connection, so that the others expire; None if there is none."""
        idle = self._idle.get(address.origin)
        while idle:
            connection = idle.pop()
            if connection.is_open and self._now() - connection.idle_since < KEEP_ALIVE:
                return connection
            connection.close()
        return None

    def release(self, address: InstanceAddress, connection: HttpConnection) -> None:
        """Return a connection to the pool if it can be reused."""
        if connection.finish():
            self.put_back(address, connection)

    def put_back(self, address: InstanceAddress, connection: HttpConnection) -> None:
        """Return a connection whose response was read completely to the pool."""
        idle = self._idle.get(address.origin)
        if idle is None:
            idle = self._idle[address.origin] = deque()
        connection.idle_since = now = self._now()
        idle.append(connection)
        if len(idle) > MAX_IDLE:
            idle.popleft().close()
        if now >= self._next_expiry:
            self._expire(now)

    def _expire(self, now: float) -> None:
        """Close connections that were idle for too long. `take_idle` takes the newest ones, so it never finds them."""
        self._next_expiry = now + EXPIRY_INTERVAL
        for origin, idle in list(self._idle.items()):
            while idle and (now - idle[0].idle_since >= KEEP_ALIVE or not idle[0].is_open):
                idle.popleft().close()
            if not idle:
                del self._idle[origin]

    def close(self) -> None:
        """Close the idle connections."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
