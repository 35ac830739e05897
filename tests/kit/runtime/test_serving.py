import asyncio
import logging
from typing import Any

import aiohttp
import pytest

from portico.kit.runtime.serving import AddressRefused, PortTaken, ServedApp, Servers, bind
from portico.testing.running_service import RESPONSE_TIMEOUT

HOST = "127.0.0.1"


class TestBind:
    def test_a_port_in_use_is_reported(self) -> None:
        with bind(HOST, 0) as first, pytest.raises(PortTaken, match=str(first.getsockname()[1])):
            bind(HOST, first.getsockname()[1])

    def test_an_unknown_address_is_reported(self) -> None:
        with pytest.raises(AddressRefused, match=r"192\.0\.2\.1"):
            bind("192.0.2.1", 0)


class TestServers:
    async def test_finish_requests_in_flight_before_they_stop(self) -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            reached.set()
            await go_on.wait()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
            await send({"type": "http.response.body", "body": b"done"})

        face = ServedApp("slow", app, bind(HOST, 0))
        port = face.port
        async with aiohttp.ClientSession() as session:
            async with Servers([face], grace=10):
                asking = asyncio.create_task(_read(session, port))
                await reached.wait()
                asyncio.get_running_loop().call_later(0.05, go_on.set)  # while the servers are already stopping

            assert await asking == b"done"
            with pytest.raises(aiohttp.ClientConnectorError):
                await _read(session, port)

    async def test_the_date_header_moves_on(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        faces = [ServedApp(name, app, bind(HOST, 0)) for name in ("one", "two")]
        async with Servers(faces, grace=1), aiohttp.ClientSession() as session:
            for face in faces:
                first = await _read_date(session, face.port)
                async with asyncio.timeout(RESPONSE_TIMEOUT):
                    while await _read_date(session, face.port) == first:
                        pass

    async def test_a_rejected_handshake_is_not_logged_as_an_error(self, caplog: pytest.LogCaptureFixture) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            headers = [(b"content-length", b"4")]
            await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
            await send({"type": "websocket.http.response.body", "body": b"ne"})

        face = ServedApp("closed", app, bind(HOST, 0))
        async with Servers([face], grace=1), aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                await session.ws_connect(f"http://{HOST}:{face.port}/")

        assert refusal.value.status == 404
        assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


async def _read(session: aiohttp.ClientSession, port: int) -> bytes:
    async with session.get(f"http://{HOST}:{port}/") as answer:
        return await answer.read()


async def _read_date(session: aiohttp.ClientSession, port: int) -> str:
    async with session.get(f"http://{HOST}:{port}/") as response:
        return response.headers["Date"]
