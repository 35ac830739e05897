"""One WebSocket to a service behind a socket."""

import aiohttp
from aiohttp import WSMsgType

from portico.gateway.upstreams.base import Closed
from portico.kit.calls.errors import ConnectionLost

ABNORMAL = 1006


class SocketTunnel:
    """Passes messages; pings are answered where they arrive."""

    def __init__(self, service: str, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self.subprotocol = socket.protocol
        self._service = service
        self._socket = socket

    async def send(self, message: str | bytes) -> None:
        try:
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(self._service, "the WebSocket is closed") from error

    async def receive(self) -> str | bytes | Closed:
        message = await self._socket.receive()
        match message.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                data: str | bytes = message.data
                return data
            case WSMsgType.CLOSE:
                return Closed(message.data or 1005, message.extra or "")
            case _:
                return Closed(self._socket.close_code or ABNORMAL)

    async def aclose(self, code: int, reason: str) -> None:
        await self._socket.close(code=code, message=reason.encode())
