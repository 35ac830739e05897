"""One WebSocket carried to its service: messages both ways, until either side says goodbye."""

import asyncio
from contextlib import suppress

from starlette.types import Receive, Send

from portico.gateway.upstreams.base import Closed, Tunnel
from portico.kit.calls.errors import ConnectionLost

NORMAL = 1000
GOING_AWAY = 1001
NO_STATUS = 1005
ABNORMAL = 1006
TLS_FAILED = 1015
INTERNAL_ERROR = 1011
# RFC 6455 section 7.4.1: these only say that no code was on the wire.
UNSENDABLE = {NO_STATUS: NORMAL, ABNORMAL: GOING_AWAY, TLS_FAILED: GOING_AWAY}
STOPPING = Closed(GOING_AWAY, "the gateway stops")


class Bridge:
    """Passes messages between a client and a service.

    Args:
        tunnel: The service's side, open.
        receive: The client's side, accepted.
        send: Likewise.
    """

    def __init__(self, tunnel: Tunnel, receive: Receive, send: Send) -> None:
        self._tunnel = tunnel
        self._receive = receive
        self._send = send
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Say goodbye to both sides, because the gateway stops."""
        self._stopping.set()

    async def run(self) -> None:
        """Pass messages until one side ends, then end the other."""
        up = asyncio.create_task(self._up())
        down = asyncio.create_task(self._down())
        stopping = asyncio.create_task(self._stopping.wait())
        tasks = (up, down, stopping)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self._end(*results[:2])

    async def _end(self, up: object, down: object) -> None:
        if not isinstance(up, Closed):
            await self._end_client(down if isinstance(down, Closed) else STOPPING)
        closed = up if isinstance(up, Closed) else STOPPING
        await self._tunnel.aclose(UNSENDABLE.get(closed.code, closed.code), closed.reason)

    async def _up(self) -> Closed:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return Closed(message.get("code", ABNORMAL), message.get("reason") or "")
            text = message.get("text")
            try:
                await self._tunnel.send(text if text is not None else message["bytes"])
            except ConnectionLost:
                await asyncio.Event().wait()  # the service ended it, and `_down` is about to read how

    async def _down(self) -> Closed:
        while True:
            message = await self._tunnel.receive()
            if isinstance(message, Closed):
                return message
            key = "text" if isinstance(message, str) else "bytes"
            await self._send({"type": "websocket.send", key: message})

    async def _end_client(self, closed: Closed) -> None:
        code = INTERNAL_ERROR if closed.code == ABNORMAL else UNSENDABLE.get(closed.code, closed.code)
        with suppress(OSError):  # it left without a word, and there is nobody to say goodbye to
            await self._send({"type": "websocket.close", "code": code, "reason": closed.reason})
