import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.contracts.channel import Callee, ChannelContract, calling

from portico.kit.calls.breaker import DEFAULT_CONFIG, BreakerConfig
from portico.kit.calls.channel import ConnectionLost, Outgoing, ResponseTooLarge, Unreachable
from portico.kit.calls.directory import Directory
from portico.kit.calls.http_channel import HttpChannel
from portico.kit.calls.local import LocalChannel
from portico.testing.loopback import loopback_server


class TestLocalChannel(ChannelContract):
    @asynccontextmanager
    async def reach(self, callee: Any, **limits: Any) -> AsyncIterator[LocalChannel]:
        channel = LocalChannel({"callee": callee}, **limits)
        yield channel
        await channel.aclose()

    async def test_closing_waits_for_calls_in_flight(self, callee: Callee) -> None:
        channel = LocalChannel({"callee": callee})
        caller = asyncio.create_task(channel.send(calling("/slow")))
        await callee.entered.wait()
        caller.cancel()
        callee.may_commit.set()

        await channel.aclose(grace=5)

        assert callee.committed.is_set()

    async def test_closing_cancels_calls_after_the_grace_period(self, callee: Callee) -> None:
        channel = LocalChannel({"callee": callee})
        caller = asyncio.create_task(channel.send(calling("/slow")))
        await callee.entered.wait()

        await channel.aclose()

        with pytest.raises(ConnectionLost):
            await caller
        assert not callee.committed.is_set()

    async def test_a_closed_channel_rejects_calls(self, callee: Callee) -> None:
        channel = LocalChannel({"callee": callee})
        await channel.aclose()

        with pytest.raises(Unreachable):
            await channel.send(calling("/echo"))

    async def test_a_service_that_starts_later_is_found(self, callee: Callee) -> None:
        apps: dict[str, Any] = {}
        channel = LocalChannel(apps)
        with pytest.raises(Unreachable):
            await channel.send(calling("/echo"))
        apps["callee"] = callee

        assert (await channel.send(calling("/echo"))).status == 200

    async def test_an_app_that_ends_without_a_response_is_a_500(self) -> None:
        async def silent(scope: Any, receive: Any, send: Any) -> None:
            pass

        assert (await LocalChannel({"callee": silent}).send(calling("/"))).status == 500

    async def test_an_abandoned_stream_lets_other_tasks_run(self) -> None:
        ended = False

        async def careless(scope: Any, receive: Any, send: Any) -> None:
            nonlocal ended
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(1000):
                await send({"type": "http.response.body", "body": b"x" * 50, "more_body": True})
            ended = True

        channel = LocalChannel({"callee": careless}, response_limit=100)
        with pytest.raises(ResponseTooLarge):
            await channel.send(calling("/"))

        assert not ended
        await channel.aclose()

    async def test_reports_the_states_of_its_breakers(self, callee: Callee) -> None:
        channel = LocalChannel({"callee": callee})
        await channel.send(calling("/echo"))

        (state,) = channel.states()
        assert (state.service, state.breaker, state.in_flight) == ("callee", "closed", 0)


class TestHttpChannel(ChannelContract):
    @asynccontextmanager
    async def reach(
        self, callee: Any, *, config: BreakerConfig = DEFAULT_CONFIG, **limits: Any
    ) -> AsyncIterator[HttpChannel]:
        with socket.socket() as unused:  # bound but not listening, so that connections are refused
            unused.bind(("127.0.0.1", 0))
            async with loopback_server(callee) as url:
                dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
                directory = Directory({"callee": url, "dead": dead}, config=config)
                channel = HttpChannel(directory, **limits)
                yield channel
                await channel.aclose()

    async def test_an_instance_already_tried_is_avoided(self, callee: Callee) -> None:
        async with loopback_server(callee) as one, loopback_server(callee) as other:
            channel = HttpChannel(Directory({"callee": f"{one},{other}"}))
            out = calling("/echo")
            await channel.send(out)
            await channel.send(out)
            await channel.aclose()

        assert out.tried == {one, other}

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    async def test_a_request_without_a_response_is_sent_once(self, method: str) -> None:
        heard = 0

        async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal heard
            await reader.readuntil(b"\r\n\r\n")
            heard += 1
            writer.close()

        async with await asyncio.start_server(drop, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            channel = HttpChannel(Directory({"callee": f"http://127.0.0.1:{port}"}))
            with pytest.raises(ConnectionLost):
                await channel.send(calling("/", method))
            await channel.aclose()

        assert heard == 1

    async def test_a_bare_503_counts_as_a_failure_of_the_instance(self, callee: Callee) -> None:
        async with self.reach(callee, config=BreakerConfig(consecutive=1)) as channel:
            await channel.send(calling("/status/503"))

            assert channel.states("callee")[0].breaker == "open"

    async def test_cookies_of_named_hosts_are_not_stored(self, callee: Callee) -> None:
        async with loopback_server(callee) as url:
            channel = HttpChannel(Directory({"callee": url.replace("127.0.0.1", "localhost")}))
            await channel.send(calling("/status/200"))
            answer = await channel.send(calling("/echo"))
            await channel.aclose()

        assert b"cookie" not in answer.body

    async def test_the_host_header_is_the_configured_name(self, callee: Callee) -> None:
        async with loopback_server(callee) as url:
            channel = HttpChannel(Directory({"callee": url.replace("127.0.0.1", "localhost")}))
            answer = await channel.send(calling("/echo"))
            await channel.aclose()

        assert b'"host": "localhost:' in answer.body

    async def test_a_closed_channel_rejects_calls(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            await channel.aclose()
            with pytest.raises(Unreachable):
                await channel.send(Outgoing("callee", "GET", "/echo"))
