"""Connections of event streams: taken over from the server if it allows that, else served by the request's task."""

import asyncio
from collections import deque
from typing import Any, Final, Protocol

from starlette.types import Receive, Send

from portico.kit.foundation.stream_connection import HandsOver, StreamConnection, StreamSource

CONNECTION_HANDOVER: Final = "portico.connection_handover"
"""Key of `http.response.start` for a response that takes over the connection. The service's middleware removes it."""


class ConnectionHandover(StreamSource, Protocol):
    """A response that takes over its connection."""

    def take(self, connection: StreamConnection | None) -> bool:
        """Take over the connection; None if the server keeps it. Return whether the server's response is complete."""


def hand_over(send: Send, source: StreamSource) -> StreamConnection | None:
    """Hand over the connection of a begun response to `source`, which writes to it from now on.

    Args:
        send: the server's own ASGI send.
        source: the writer of the body.

    Returns:
        The connection; None if the server keeps it.
    """
    owner: Any = getattr(send, "__self__", None)
    if isinstance(owner, HandsOver):
        return owner.hand_over(source)
    from portico.kit._compat.uvicorn_streams import detach  # slow to import, and commands do not need it

    return detach(send, source)


class TaskConnection:
    """A connection that the server keeps: the request's task sends the written data until the stream ends.

    Args:
        source: the writer of the body.
    """

    def __init__(self, source: StreamSource) -> None:
        self._source = source
        self._chunks: deque[bytes] = deque()
        self._written = asyncio.Event()
        self._ended = False
        self._within = asyncio.timeout(None)
        self.unread = 0

    def write(self, chunk: bytes) -> None:
        if not self._ended:
            self._chunks.append(chunk)
            self.unread += len(chunk)
            self._written.set()

    def end(self) -> None:
        self._ended = True
        self._written.set()

    def abort(self) -> None:
        self._ended = True
        self._within.reschedule(asyncio.get_running_loop().time())

    async def serve(self, receive: Receive, send: Send) -> None:
        """Send the written data until the stream ends or the client disconnects."""
        watcher = asyncio.create_task(self._watch(receive), name="client of an event stream")
        try:
            async with self._within:
                await self._send_all(send)
        except (TimeoutError, OSError):
            pass  # aborted, or the client has disconnected
        finally:
            watcher.cancel()
            self._ended = True
            self._source.connection_lost()

    async def _send_all(self, send: Send) -> None:
        while True:
            await self._written.wait()
            self._written.clear()
            while self._chunks:
                chunk = self._chunks.popleft()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                self.unread -= len(chunk)
            if self._ended:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.abort()
