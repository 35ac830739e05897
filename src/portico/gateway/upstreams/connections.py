"""Connections to the instances of services, kept open between requests."""

import asyncio
import ssl
from collections import deque
from functools import lru_cache

from portico.gateway.upstreams.wire import Wire
from portico.kit.calls.addresses import Address
from portico.kit.calls.errors import Unreachable

CONNECT_TIMEOUT = 2.0
# Servers close a connection that idles for 5 s (uvicorn's default): let go before they do, or a request meets the close.
KEEP_ALIVE = 3.0
MOST_IDLE = 256


class Connections:
    """A pool for each instance. How many are in use is bounded by the requests in flight, which the plane bounds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle: dict[str, deque[Wire]] = {}

    async def take(self, service: str, address: Address) -> Wire:
        """A connection that is open: one that was used lately, else a new one. Raises Unreachable."""
        idle = self._idle.get(address.origin)
        while idle:
            wire = idle.pop()  # the one used last: the others may grow old
            if wire.is_open and self._loop.time() - wire.idle_since < KEEP_ALIVE:
                return wire
            wire.close()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, wire = await self._loop.create_connection(
                    lambda: Wire(service),
                    address.host,
                    address.port,
                    ssl=_tls() if address.scheme == "https" else None,
                    server_hostname=address.authority.partition(":")[0] if address.scheme == "https" else None,
                )
        except OSError as error:  # a time-out and a failed TLS handshake are OSErrors too
            raise Unreachable(service, type(error).__name__) from error
        return wire

    def give_back(self, address: Address, wire: Wire) -> None:
        """Done with an answer: the connection waits for the next request, where it can take one."""
        if not wire.end():
            return
        idle = self._idle.setdefault(address.origin, deque())
        wire.idle_since = self._loop.time()
        idle.append(wire)
        if len(idle) > MOST_IDLE:
            idle.popleft().close()

    def close(self) -> None:
        """Close what is idle; what is in use is closed as it is given back."""
        for idle in self._idle.values():
            for wire in idle:
                wire.close()
        self._idle.clear()


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
