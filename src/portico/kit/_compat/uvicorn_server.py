"""Private APIs of uvicorn, written for uvicorn 0.54: its server, and what makes its protocols.

uvicorn's own server takes the signals of its process and wakes up ten times a second.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import uvicorn

from portico.kit._compat import Library, require

with Library("uvicorn", "0.54").shape():
    from uvicorn.server import ServerState

    require(
        uvicorn.Server, "capture_signals", "main_loop", "on_tick", "serve", "server_state", "started", "should_exit"
    )
    require(uvicorn.Config, "load")
    require(ServerState, "connections", "tasks")

__all__ = ["ServerState", "SignalFreeServer", "protocol_factory"]


class SignalFreeServer(uvicorn.Server):
    """A server that leaves signals and the time to its process, which calls `tick` once a second.

    Args:
        config: uvicorn's configuration.
        unread_seconds: how long a client may read nothing of what was written before its connection is aborted. uvicorn
            waits forever, even for a response that is complete.
    """

    def __init__(self, config: uvicorn.Config, *, unread_seconds: float) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()
        self._unread_seconds = unread_seconds
        self._unread: dict[asyncio.Transport, tuple[int, float]] = {}

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Stop accepting, and end when the requests in flight have ended."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Wait until the server stops. uvicorn's own loop wakes up ten times a second."""
        await self.tick()
        await self._stopping.wait()

    async def tick(self) -> None:
        """Update the Date header and abort unread connections."""
        await self.on_tick(0)
        self._abort_unread()

    def _abort_unread(self) -> None:
        """Abort the connections whose clients have read nothing for too long. Remember the others with unread bytes."""
        now, before, self._unread = asyncio.get_running_loop().time(), self._unread, {}
        for connection in list(self.server_state.connections):
            transport: asyncio.Transport = connection.transport
            if not (size := transport.get_write_buffer_size()):
                continue
            earlier, since = before.get(transport, (size + 1, now))
            since = now if size < earlier else since
            if now - since >= self._unread_seconds:
                transport.abort()
            else:
                self._unread[transport] = size, since


def protocol_factory(config: uvicorn.Config, state: ServerState) -> Callable[[], asyncio.Protocol]:
    """Return what makes the protocol of each connection, for a server that is not uvicorn's. Loads the configuration."""
    config.load()

    def make() -> asyncio.Protocol:
        made: asyncio.Protocol = config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg]  # the class is chosen at run time
        return made

    return make
