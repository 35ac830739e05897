"""Contract of channels between services. A subclass connects the channel to a callee."""

import asyncio
import contextvars
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from structlog.testing import capture_logs

from portico.kit.calls.breaker import BreakerConfig
from portico.kit.calls.channel import (
    BreakerOpen,
    CallTimedOut,
    Channel,
    ConnectionLost,
    Outgoing,
    ResponseTooLarge,
    Saturated,
    Unreachable,
)

SOON = 0.2  # seconds; timeout of a call that is meant to expire after it has reached the callee
current_name: contextvars.ContextVar[str] = contextvars.ContextVar("current_name", default="none")

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Callee:
    """A service whose path selects its behaviour, and that records what happens."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.may_commit = asyncio.Event()
        self.committed = asyncio.Event()
        self.saw = ""

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        name = scope["path"].strip("/").split("/")[0]
        await getattr(self, name)(scope, receive, send)

    async def echo(self, scope: Any, receive: Receive, send: Send) -> None:
        request = await receive()
        request = {
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
            "body": request["body"].decode(),
        }
        await answer(send, 200, json.dumps(request).encode())

    async def status(self, scope: Any, receive: Receive, send: Send) -> None:
        twice = [(b"X-Twice", b"1"), (b"x-twice", b"2"), (b"location", b"/echo"), (b"set-cookie", b"a=b")]
        await answer(send, int(scope["path"].rsplit("/", 1)[1]), b"{}", twice)

    async def zipped(self, scope: Any, receive: Receive, send: Send) -> None:
        await answer(send, 200, b"\x1f\x8bnot really", [(b"content-encoding", b"gzip")])

    async def boom(self, scope: Any, receive: Receive, send: Send) -> None:
        raise RuntimeError("in /secret/path")

    async def half(self, scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        raise RuntimeError("in the middle")

    async def chunks(self, scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for chunk in (b"one ", b"two ", b"three"):
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def endless(self, scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        broadcasts = asyncio.ensure_future(receive())
        while not broadcasts.done():
            await send({"type": "http.response.body", "body": b"x" * 512, "more_body": True})
            await asyncio.sleep(0)
        self.disconnected.set()

    async def slow(self, scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        self.entered.set()
        if (await receive())["type"] == "http.disconnect":
            self.disconnected.set()
        await self.may_commit.wait()
        self.committed.set()

    async def context(self, scope: Any, receive: Receive, send: Send) -> None:
        self.saw = current_name.get()
        current_name.set("callee")
        await answer(send, 204)


async def answer(send: Send, status: int, body: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None) -> None:
    length = [(b"content-length", b"%d" % len(body))] if body else []
    await send({"type": "http.response.start", "status": status, "headers": [*(headers or []), *length]})
    await send({"type": "http.response.body", "body": body})


def calling(path: str, method: str = "GET", **more: Any) -> Outgoing:
    return Outgoing("callee", method, path, **{"timeout": 5.0, **more})


class ChannelContract(ABC):
    """Subclass it as `TestMyChannel` and implement `reach`."""

    @abstractmethod
    def reach(self, callee: Any, **limits: Any) -> AbstractAsyncContextManager[Channel]:
        """Return a channel on which `callee` is the service "callee", and the service "dead" does not run.

        Limits are `max_in_flight`, `response_limit` and `config`, as the channels take them.
        """

    @pytest.fixture
    def callee(self) -> Callee:
        return Callee()

    async def test_the_callee_receives_the_request(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            out = calling(
                "/echo/caf%C3%A9%2Fbar", "POST", query=b"q=a%20b&q=c", headers=[(b"x-thing", b"42")], body=b'{"a": 1}'
            )
            request = json.loads((await channel.send(out)).body)

        assert request["method"] == "POST"
        assert request["path"] == "/echo/café/bar"
        assert request["raw_path"] == "/echo/caf%C3%A9%2Fbar"
        assert request["query"] == "q=a%20b&q=c"
        assert request["body"] == '{"a": 1}'
        assert request["headers"]["x-thing"] == "42"
        assert request["headers"]["content-length"] == "8"

    async def test_the_callee_receives_the_deadline_and_no_headers_of_the_channel(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            headers = json.loads((await channel.send(calling("/echo", timeout=2.5))).body)["headers"]

        assert 2000 < int(headers.pop("x-request-deadline-ms")) <= 2500
        assert set(headers) == {"host"}

    @pytest.mark.parametrize("status", [200, 302, 404, 500, 503])
    async def test_any_status_is_a_response(self, callee: Callee, status: int) -> None:
        async with self.reach(callee) as channel:
            incoming = await channel.send(calling(f"/status/{status}"))

        assert (incoming.status, incoming.body) == (status, b"{}")

    async def test_header_names_are_lower_case_and_may_repeat(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            incoming = await channel.send(calling("/status/200"))

        assert [value for name, value in incoming.headers if name == b"x-twice"] == [b"1", b"2"]

    async def test_cookies_are_not_stored(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            await channel.send(calling("/status/200"))
            request = json.loads((await channel.send(calling("/echo"))).body)

        assert "cookie" not in request["headers"]

    async def test_a_compressed_body_is_not_decompressed(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            assert (await channel.send(calling("/zipped"))).body == b"\x1f\x8bnot really"

    async def test_a_response_to_head_has_no_body(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            incoming = await channel.send(calling("/status/200", "HEAD"))

        assert (incoming.status, incoming.body) == (200, b"")
        assert incoming.header(b"content-length") == b"2"

    async def test_a_streamed_response_is_read_completely(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            assert (await channel.send(calling("/chunks"))).body == b"one two three"

    async def test_an_exception_of_the_callee_is_a_500_without_details(
        self, callee: Callee, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.ERROR), capture_logs() as events:
            async with self.reach(callee) as channel:
                incoming = await channel.send(calling("/boom"))

        assert incoming.status == 500
        assert b"secret" not in incoming.body
        assert "in /secret/path" in caplog.text + "".join(str(event.get("exc_info")) for event in events)

    async def test_an_incomplete_response_is_a_lost_connection(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            with pytest.raises(ConnectionLost):
                await channel.send(calling("/half"))

    async def test_a_timeout_is_a_disconnect_and_the_callee_still_commits(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            await channel.send(calling("/echo"))  # connects first, so that the timeout expires at the callee
            with pytest.raises(CallTimedOut):
                await channel.send(calling("/slow", timeout=SOON))
            await callee.disconnected.wait()
            callee.may_commit.set()
            await callee.committed.wait()

    async def test_a_cancelled_caller_is_a_disconnect_and_the_callee_still_commits(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            caller = asyncio.create_task(channel.send(calling("/slow")))
            await callee.entered.wait()
            caller.cancel()
            await asyncio.wait([caller])
            await callee.disconnected.wait()
            callee.may_commit.set()
            await callee.committed.wait()

        assert caller.cancelled()

    @pytest.mark.parametrize("path", ["/echo", "/endless"])
    async def test_a_response_beyond_the_limit_is_rejected(self, callee: Callee, path: str) -> None:
        async with self.reach(callee, response_limit=20) as channel:
            with pytest.raises(ResponseTooLarge):
                await channel.send(calling(path))

    async def test_an_abandoned_stream_ends(self, callee: Callee) -> None:
        async with self.reach(callee, response_limit=2000) as channel:
            with pytest.raises(ResponseTooLarge):
                await channel.send(calling("/endless"))
            await callee.disconnected.wait()

    async def test_contexts_are_separate(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            current_name.set("caller")
            await channel.send(calling("/context"))

        assert (callee.saw, current_name.get()) == ("none", "caller")

    async def test_a_service_that_does_not_run_is_unreachable(self, callee: Callee) -> None:
        async with self.reach(callee) as channel:
            with pytest.raises(Unreachable):
                await channel.send(Outgoing("dead", "POST", "/"))

    async def test_failures_open_the_breaker_of_one_service_only(self, callee: Callee) -> None:
        async with self.reach(callee, config=BreakerConfig(consecutive=2)) as channel:
            for _ in range(2):
                with pytest.raises(Unreachable):
                    await channel.send(Outgoing("dead", "GET", "/"))
            with pytest.raises(BreakerOpen) as refusal:
                await channel.send(Outgoing("dead", "GET", "/"))
            assert (await channel.send(calling("/status/200"))).status == 200

        assert 0 < refusal.value.retry_after <= BreakerConfig().open_for

    async def test_timeouts_open_the_breaker(self, callee: Callee) -> None:
        callee.may_commit.set()
        async with self.reach(callee, config=BreakerConfig(consecutive=1)) as channel:
            with pytest.raises(CallTimedOut):
                await channel.send(calling("/slow", timeout=SOON))
            with pytest.raises(BreakerOpen):
                await channel.send(calling("/echo"))

    async def test_cancelled_callers_and_error_responses_do_not_open_the_breaker(self, callee: Callee) -> None:
        callee.may_commit.set()
        async with self.reach(callee, config=BreakerConfig(consecutive=1)) as channel:
            caller = asyncio.create_task(channel.send(calling("/slow")))
            await callee.entered.wait()
            caller.cancel()
            await asyncio.wait([caller])
            assert (await channel.send(calling("/status/500"))).status == 500
            assert (await channel.send(calling("/echo"))).status == 200

    async def test_calls_beyond_the_limit_are_rejected(self, callee: Callee) -> None:
        callee.may_commit.set()
        async with self.reach(callee, max_in_flight=1) as channel:
            first = asyncio.create_task(channel.send(calling("/slow")))
            await callee.entered.wait()
            with pytest.raises(Saturated):
                await channel.send(calling("/echo"))
            first.cancel()
            await asyncio.wait([first])
