"""Connections of event streams: taken from the server where it allows that, otherwise served by the request's task."""

import asyncio
from collections import deque
from typing import Any, Final, Protocol

from starlette.types import Receive, Send

from portico.kit.foundation.stream_connection import HandsOver, StreamConnection, StreamSource

HANDING_OVER: Final = "portico.handing_over"
"""Key of `http.response.start`: the response wants the connection. The service's middleware removes it."""


class HandingOver(StreamSource, Protocol):
    """A response that wants its connection."""

    def take(self, connection: StreamConnection | None) -> bool:
        """Take the connection, or None if the server keeps it. Return whether the response is complete for the server."""


def hand_over(send: Send, source: StreamSource) -> StreamConnection | None:
    """Return the connection of a response that has begun, from now on written by `source`; None if the server keeps it.

    Args:
        send: the server's own ASGI send.
        source: what writes the body.
    """
    owner: Any = getattr(send, "__self__", None)
    if isinstance(owner, HandsOver):
        return owner.hand_over(source)
    from portico.kit._compat.uvicorn_streams import detach  # slow to import; commands declare services, and serve none

    return detach(send, source)


class TaskConnection:
    """A connection that the server keeps: the request's task sends what is written, until the stream ends.

    Args:
        source: what writes the body.
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
        """Send what is written until the stream ends or the client leaves."""
        watcher = asyncio.create_task(self._watch(receive), name="client of an event stream")
        try:
            async with self._within:
                await self._send_all(send)
        except (TimeoutError, OSError):
            pass  # aborted, or the client has left
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
