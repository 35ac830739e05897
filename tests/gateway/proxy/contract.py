"""Behaviour of the proxy with HTTP and WebSockets, for every kind of upstream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest
from tests.gateway.proxy.gateways import ORIGIN, Gateway, GatewaySetup, KnownTokens
from tests.gateway.proxy.scripted_service import Service, ServiceRequest, until
from tests.gateway.requests import a_principal

from portico.kit.http.request_body import BodyRateLimit

Start = Callable[..., AbstractAsyncContextManager[Gateway]]


@contextlib.asynccontextmanager
async def a_slow_body(
    gateway: Gateway, client: str = "198.51.100.9"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Send a request of which nine more bytes are to come."""
    host, port = gateway.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nX-Forwarded-For: {client}\r\n\r\nx"
    try:
        writer.write(head.encode())
        yield reader, writer
    finally:
        writer.close()


class ForwardingContract:
    """Run by a subclass with the fixture `start`, which serves a gateway in front of `service`."""

    @pytest.fixture
    def service(self) -> Service:
        return Service()

    @pytest.fixture
    async def gateway(self, start: Start, service: Service) -> AsyncIterator[Gateway]:
        async with start(service) as gateway:
            yield gateway

    async def test_a_request_is_forwarded_unchanged(self, gateway: Gateway) -> None:
        answer = await gateway.client.post(
            "/echo?a=1&b=%20x&c", data=b"hello", headers={"X-Note": "é", "Accept": "a/b"}
        )
        seen = await answer.json()

        assert answer.status == 200
        assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("POST", "/echo", "a=1&b=%20x&c", "hello")
        assert ["x-note", "é"] in seen["headers"]
        assert ["accept", "a/b"] in seen["headers"]

    async def test_a_path_is_not_rewritten(self, gateway: Gateway) -> None:
        from yarl import URL

        answer = await gateway.client.get(URL(f"{gateway.url}/echo/a%20b;x=%C3%A9", encoded=True))
        seen = await answer.json()

        assert seen["raw_path"] == "/echo/a%20b;x=%C3%A9"
        assert seen["path"] == "/echo/a b;x=é"

    async def test_head_has_no_body(self, gateway: Gateway) -> None:
        answer = await gateway.client.head("/echo")

        assert answer.status == 200
        assert int(answer.headers["content-length"]) > 0
        assert await answer.read() == b""

    async def test_a_204_has_no_body(self, gateway: Gateway, service: Service) -> None:
        async def nothing(request: ServiceRequest) -> None:
            await request.begin(204)
            await request.write(b"", more=False)

        service.on("/echo", nothing)
        answer = await gateway.client.get("/echo")

        assert (answer.status, await answer.read()) == (204, b"")

    async def test_an_empty_body_is_complete(self, gateway: Gateway, service: Service) -> None:
        async def empty(request: ServiceRequest) -> None:
            await request.answer(200, b"")

        service.on("/echo", empty)

        assert await (await gateway.client.get("/echo")).read() == b""

    async def test_the_request_id_is_used_or_generated_and_returned(self, gateway: Gateway, service: Service) -> None:
        taken = await gateway.client.get("/echo", headers={"X-Request-ID": "abc-1"})
        made = await gateway.client.get("/echo")

        assert taken.headers.getall("X-Request-ID") == ["abc-1"]
        assert service.requests[0].headers[b"x-request-id"] == b"abc-1"
        assert made.headers["X-Request-ID"] == service.requests[1].headers[b"x-request-id"].decode()

    async def test_guarded_headers_cannot_be_forged(self, gateway: Gateway, service: Service) -> None:
        forged = {
            "X-Forwarded-For": "1.1.1.1",
            "X_Forwarded_For": "1.1.1.1",
            "Forwarded": "for=1.1.1.1",
            "X-Request-Deadline-Ms": "1",
            "Connection": "keep-alive, X-Secret",
            "X-Secret": "1",
            "TE": "trailers",
        }
        await gateway.client.get("/echo", headers=forged)
        seen = service.requests[0].headers

        assert seen[b"x-forwarded-for"] == b"127.0.0.1"
        assert seen[b"x-forwarded-host"] == gateway.address.encode()
        assert seen[b"x-request-deadline-ms"].isdigit()
        assert seen[b"x-request-deadline-ms"] != b"1"
        assert not {b"x_forwarded_for", b"x-secret", b"te"} & set(seen)

    async def test_response_headers_are_returned(self, gateway: Gateway, service: Service) -> None:
        async def cookies(request: ServiceRequest) -> None:
            fields = [
                (b"set-cookie", b"a=1"),
                (b"set-cookie", b"b=2"),
                (b"x-hop", b"1"),
                (b"access-control-allow-origin", b"*"),
            ]
            await request.answer(201, b"made", *fields, (b"etag", b'"7"'))

        service.on("/echo", cookies)
        answer = await gateway.client.post("/echo", headers={"Origin": ORIGIN})

        assert (answer.status, await answer.read()) == (201, b"made")
        assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert answer.headers["ETag"] == '"7"'
        assert answer.headers.getall("Access-Control-Allow-Origin") == [ORIGIN]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert len(answer.headers.getall("Date")) == 1

    async def test_compressed_bodies_are_unchanged(self, gateway: Gateway, service: Service) -> None:
        async def packed(request: ServiceRequest) -> None:
            await request.answer(200, b"\x1f\x8bnot really", (b"content-encoding", b"gzip"))

        service.on("/echo", packed)
        answer = await gateway.client.get("/echo")

        assert (answer.headers["Content-Encoding"], await answer.read()) == ("gzip", b"\x1f\x8bnot really")


class StreamingContract(ForwardingContract):
    async def test_a_response_is_streamed(self, gateway: Gateway, service: Service) -> None:
        go_on = asyncio.Event()

        async def slowly(request: ServiceRequest) -> None:
            await request.begin(200)
            await request.write(b"first")
            await go_on.wait()
            await request.write(b"second", more=False)

        service.on("/echo", slowly)
        answer = await gateway.client.get("/echo")
        first = await answer.content.readany()
        go_on.set()

        assert (first, await answer.read()) == (b"first", b"second")

    async def test_a_request_body_is_streamed(self, gateway: Gateway, service: Service) -> None:
        arrived: list[bytes] = []
        seen = asyncio.Event()

        async def listen(request: ServiceRequest) -> None:
            while (chunk := await request.chunk()) is not None:
                arrived.append(chunk)
                seen.set()
            await request.answer(200)

        async def speak() -> AsyncIterator[bytes]:
            yield b"first"
            await seen.wait()  # the second chunk is sent only after the service read the first
            yield b"second"

        service.on("/echo", listen)
        answer = await gateway.client.post("/echo", data=speak())

        assert answer.status == 200
        assert arrived == [b"first", b"second"]

    async def test_a_response_can_precede_the_end_of_the_request_body(self, gateway: Gateway, service: Service) -> None:
        answered = asyncio.Event()

        async def early(request: ServiceRequest) -> None:
            await request.chunk()
            await request.answer(422, b"no")

        async def speak() -> AsyncIterator[bytes]:
            yield b"first"
            await answered.wait()
            yield b"never wanted"

        service.on("/echo", early)
        answer = await gateway.client.post("/echo", data=speak())
        answered.set()

        assert answer.status == 422

    async def test_a_slow_reader_limits_the_writer(self, gateway: Gateway, service: Service) -> None:
        written = 0

        async def much(request: ServiceRequest) -> None:
            nonlocal written
            await request.begin(200)
            for _ in range(4096):
                await request.write(b"x" * 16384)
                written += 16384
            await request.write(b"", more=False)

        service.on("/echo", much)
        answer = await gateway.client.get("/echo")
        before = -1
        while written != before:
            before = written
            for _ in range(2000):
                await asyncio.sleep(0)
        ahead = written
        size = len(await answer.read())

        assert size == 4096 * 16384
        assert ahead < size / 2

    async def test_server_sent_events_are_forwarded_immediately(self, gateway: Gateway, service: Service) -> None:
        ticks: asyncio.Queue[bytes] = asyncio.Queue()

        async def events(request: ServiceRequest) -> None:
            await request.begin(200, (b"content-type", b"text/event-stream"))
            while tick := await ticks.get():
                await request.write(b"data: " + tick + b"\n\n")
            await request.write(b"", more=False)

        service.on("/echo", events)
        answer = await gateway.client.get("/echo")
        heard = []
        for tick in (b"1", b"2", b"3"):
            ticks.put_nowait(tick)
            heard.append(await answer.content.readany())
        ticks.put_nowait(b"")

        assert heard == [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"]
        assert await answer.read() == b""

    async def test_an_event_stream_outlives_the_time_limit(self, start: Start, service: Service) -> None:
        go_on = asyncio.Event()

        async def events(request: ServiceRequest) -> None:
            await request.begin(200, (b"content-type", b"text/event-stream"))
            await request.write(b"data: 1\n\n")
            await go_on.wait()
            await request.write(b"data: 2\n\n", more=False)

        service.on("/slow", events)
        async with start(service) as gateway:
            answer = await gateway.client.get("/slow")
            await answer.content.readany()
            late = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.5, late.set_result, None)
            await late
            go_on.set()

            assert await answer.read() == b"data: 2\n\n"

    async def test_a_client_disconnect_ends_the_upstream_request(self, gateway: Gateway, service: Service) -> None:
        left = asyncio.Event()

        async def endless(request: ServiceRequest) -> None:
            await request.begin(200, (b"content-type", b"text/event-stream"))
            await request.write(b"data: 1\n\n")
            await request.disconnected()
            left.set()

        service.on("/echo", endless)
        answer = await gateway.client.get("/echo")
        await answer.content.readany()
        answer.close()

        async with asyncio.timeout(60):
            await left.wait()
        await until(lambda: gateway.records)
        assert gateway.records[0].outcome == "client_gone"

    async def test_a_client_disconnect_before_the_response_ends_the_upstream_request(
        self, gateway: Gateway, service: Service
    ) -> None:
        left, came = asyncio.Event(), asyncio.Event()

        async def thinking(request: ServiceRequest) -> None:
            came.set()
            await request.disconnected()
            left.set()

        service.on("/echo", thinking)
        asking = asyncio.create_task(gateway.client.get("/echo"))
        await came.wait()
        asking.cancel()

        async with asyncio.timeout(60):
            await left.wait()
        await until(lambda: gateway.records)
        assert gateway.records[0].status == 499

    async def test_stop_ends_streams_and_lets_other_requests_finish(self, gateway: Gateway, service: Service) -> None:
        go_on = asyncio.Event()

        async def events(request: ServiceRequest) -> None:
            await request.begin(200, (b"content-type", b"text/event-stream"))
            await request.write(b"data: 1\n\n")
            await request.disconnected()

        async def page(request: ServiceRequest) -> None:
            await request.begin(200)
            await request.write(b"half ")
            await go_on.wait()
            await request.write(b"whole", more=False)

        service.on("/echo", events)
        service.on("/echo/page", page)
        stream, half = await gateway.client.get("/echo"), await gateway.client.get("/echo/page")
        await stream.content.readany()
        gateway.proxy_app.stop()
        rest = await stream.read()
        go_on.set()

        assert rest == b""
        assert await half.read() == b"half whole"


class FailingContract(StreamingContract):
    async def test_an_exception_in_the_service_is_a_500(self, gateway: Gateway, service: Service) -> None:
        async def broken(request: ServiceRequest) -> None:
            raise RuntimeError("internal detail")

        service.on("/echo", broken)
        answer = await gateway.client.get("/echo")

        assert answer.status == 500
        assert b"internal detail" not in await answer.read()

    async def test_an_interrupted_response_is_visibly_incomplete(self, gateway: Gateway, service: Service) -> None:
        async def broken(request: ServiceRequest) -> None:
            await request.begin(200)
            await request.write(b"half")
            raise RuntimeError("internal detail")

        service.on("/echo", broken)
        answer = await gateway.client.get("/echo")

        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
        assert gateway.records[0].outcome == "broken"

    async def test_a_response_shorter_than_its_length_is_visibly_incomplete(
        self, gateway: Gateway, service: Service
    ) -> None:
        async def short(request: ServiceRequest) -> None:
            await request.begin(200, (b"content-length", b"10"))
            await request.write(b"half")
            raise RuntimeError("internal detail")

        service.on("/echo", short)
        answer = await gateway.client.get("/echo")

        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()

    async def test_a_late_response_is_a_504(self, gateway: Gateway, service: Service) -> None:
        async def thinking(request: ServiceRequest) -> None:
            await request.disconnected()

        service.on("/slow", thinking)
        answer = await gateway.client.get("/slow")
        problem = await answer.json(content_type="application/problem+json")

        assert answer.status == 504
        assert (problem["code"], problem["service"], problem["instance"]) == ("service_timeout", "echo", "/slow")
        assert problem["request_id"] == answer.headers["X-Request-ID"]
        assert len(service.requests) == 1

    async def test_a_service_that_still_reads_the_body_after_a_504_sees_a_disconnect(
        self, gateway: Gateway, service: Service
    ) -> None:
        ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

        async def listen(request: ServiceRequest) -> None:
            try:
                while await request.chunk() is not None:
                    pass
            except BaseException as error:
                ended.set_result(error)
                raise

        async def speak() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.shield(ended)

        service.on("/slow", listen)
        answer = await gateway.client.post("/slow", data=speak())

        assert answer.status == 504
        async with asyncio.timeout(60):
            assert isinstance(await ended, ConnectionError)

    async def test_a_stalled_response_is_aborted(self, gateway: Gateway, service: Service) -> None:
        async def stalls(request: ServiceRequest) -> None:
            await request.begin(200)
            await request.write(b"half")
            await request.disconnected()

        service.on("/slow", stalls)
        answer = await gateway.client.get("/slow")

        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()

    async def test_a_declared_body_above_the_limit_is_refused_unread(self, gateway: Gateway, service: Service) -> None:
        answer = await gateway.client.post("/small", data=b"x" * 11)

        assert answer.status == 413
        assert service.requests == []

    async def test_a_chunked_body_above_the_limit_is_refused(self, gateway: Gateway, service: Service) -> None:
        async def swallow(request: ServiceRequest) -> None:
            await request.disconnected()

        async def grow() -> AsyncIterator[bytes]:
            yield b"x" * 8
            yield b"x" * 8

        service.on("/small", swallow)
        answer = await gateway.client.post("/small", data=grow())
        problem = await answer.json(content_type="application/problem+json")

        assert (answer.status, problem["limit"]) == (413, 10)

    async def test_a_service_gets_a_disconnect_if_the_body_is_too_large(
        self, gateway: Gateway, service: Service
    ) -> None:
        came, saw = asyncio.Event(), asyncio.Event()

        async def swallow(request: ServiceRequest) -> None:
            try:
                while await request.chunk() is not None:
                    came.set()
            except ConnectionError:
                saw.set()

        async def grow() -> AsyncIterator[bytes]:
            yield b"x" * 8
            await came.wait()
            yield b"x" * 8

        service.on("/small", swallow)
        answer = await gateway.client.post("/small", data=grow())

        assert answer.status == 413
        async with asyncio.timeout(60):
            await saw.wait()

    async def test_requests_above_the_capacity_are_refused(self, start: Start, service: Service) -> None:
        go_on = asyncio.Event()

        async def wait(request: ServiceRequest) -> None:
            await go_on.wait()
            await request.answer(200)

        service.on("/echo", wait)
        async with start(service, GatewaySetup(max_requests=2)) as gateway:
            waiting = [asyncio.create_task(gateway.client.get("/echo")) for _ in range(2)]
            await until(lambda: len(service.requests) == 2)
            refused = await gateway.client.get("/echo")
            go_on.set()
            served = await asyncio.gather(*waiting)

        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert [answer.status for answer in served] == [200, 200]

    async def test_a_request_that_waits_for_its_body_takes_no_place(self, start: Start, service: Service) -> None:
        async with start(service, GatewaySetup(max_requests=1)) as gateway, a_slow_body(gateway) as (reader, writer):
            await until(lambda: len(service.requests) == 1)
            meanwhile = await gateway.client.get("/echo")
            writer.write(b"x" * 9)
            status_line = await reader.readline()

        assert meanwhile.status == 200
        assert status_line == b"HTTP/1.1 200 OK\r\n"

    async def test_a_body_that_arrives_too_slowly_is_a_408_that_closes(self, start: Start, service: Service) -> None:
        setup = GatewaySetup(body_rate=BodyRateLimit(grace=0.1, min_rate=1000))
        async with start(service, setup) as gateway, a_slow_body(gateway) as (reader, _):
            answer = (await reader.read()).decode().lower()
            await until(lambda: gateway.records)

        assert answer.startswith("http/1.1 408 ")
        assert "connection: close\r\n" in answer
        assert '"code":"body_too_slow"' in answer
        assert gateway.records[0].status == 408

    async def test_a_client_holds_at_most_its_share(self, start: Start, service: Service) -> None:
        go_on = asyncio.Event()

        async def wait(request: ServiceRequest) -> None:
            await go_on.wait()
            await request.answer(200)

        service.on("/echo", wait)
        ann, bob = {"X-Forwarded-For": "198.51.100.1"}, {"X-Forwarded-For": "198.51.100.2"}
        setup = GatewaySetup(max_requests=4, client_share=0.5, proxies=["127.0.0.1"])
        async with start(service, setup) as gateway:
            waiting = [asyncio.create_task(gateway.client.get("/echo", headers=ann)) for _ in range(2)]
            await until(lambda: len(service.requests) == 2)
            refused = await gateway.client.get("/echo", headers=ann)
            waiting.append(asyncio.create_task(gateway.client.get("/echo", headers=bob)))
            await until(lambda: len(service.requests) == 3)
            go_on.set()
            served = await asyncio.gather(*waiting)

        assert (refused.status, (await refused.json())["code"]) == (429, "too_many_at_once")
        assert [answer.status for answer in served] == [200] * 3

    async def test_a_client_sends_at_most_its_share_of_bodies(self, start: Start, service: Service) -> None:
        setup = GatewaySetup(max_requests=2, client_share=0.5, proxies=["127.0.0.1"])
        async with start(service, setup) as gateway, a_slow_body(gateway, "198.51.100.1") as (reader, writer):
            await until(lambda: len(service.requests) == 1)
            async with a_slow_body(gateway, "198.51.100.1") as (refused, _):
                refusal = (await refused.read()).decode()
            another = await gateway.client.post("/echo", data=b"x", headers={"X-Forwarded-For": "198.51.100.2"})
            writer.write(b"x" * 9)
            status_line = await reader.readline()

        assert (refusal.split(" ")[1], "too_many_bodies" in refusal) == ("429", True)
        assert another.status == 200
        assert status_line == b"HTTP/1.1 200 OK\r\n"

    async def test_streams_have_their_own_capacity(self, start: Start, service: Service) -> None:
        async def accept(request: ServiceRequest) -> None:
            await request.receive()
            await request.send({"type": "websocket.accept"})
            await request.disconnected()

        service.on("/ws", accept)
        async with start(service, GatewaySetup(max_requests=1, max_streams=2)) as gateway:
            sockets = [await gateway.client.ws_connect("/ws") for _ in range(2)]
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await gateway.client.ws_connect("/ws")
            short = await gateway.client.get("/echo")
            for socket in sockets:
                await socket.close()

        assert (refused.value.status, short.status) == (503, 200)


class DecidingContract(FailingContract):
    async def test_callers_are_verified_at_the_gateway(self, start: Start, service: Service) -> None:
        tokens = KnownTokens({"ann": a_principal(expires_at=4e9), "bob": a_principal("products:write", expires_at=4e9)})
        async with start(service, GatewaySetup(verifier=tokens)) as gateway:
            statuses = {}
            for token in ("", "forged", "ann", "bob"):
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                me = await gateway.client.get("/me", headers=headers)
                write = await gateway.client.post("/products", headers=headers)
                statuses[token] = (me.status, write.status)
            tokens.down = True
            away = await gateway.client.get("/me", headers={"Authorization": "Bearer ann"})
            public = await gateway.client.get("/echo", headers={"Authorization": "Bearer ann"})

        assert statuses == {"": (401, 401), "forged": (401, 401), "ann": (200, 403), "bob": (200, 200)}
        assert (away.status, away.headers["Retry-After"], public.status) == (503, "2", 200)

    async def test_rates_are_enforced_and_reported(self, start: Start, service: Service) -> None:
        async with start(service) as gateway:
            answers = [await gateway.client.post("/login", headers={"Origin": ORIGIN}) for _ in range(3)]

        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[0].headers["RateLimit-Policy"] == '"sign_in";q=2;w=60'
        assert answers[0].headers["RateLimit"].startswith('"sign_in";r=1;t=')
        assert 1 <= int(answers[2].headers["Retry-After"]) <= 120
        assert answers[2].headers["Access-Control-Allow-Origin"] == ORIGIN
        assert len(service.requests) == 2
        assert [record.rate_limited for record in gateway.records] == [False, False, True]

    async def test_errors_of_an_oauth_endpoint_are_oauth_errors(self, start: Start, service: Service) -> None:
        foreign = {"Origin": "https://app.example"}
        async with start(service) as gateway:
            too_large = await gateway.client.post("/token", data=b"x" * 11, headers=foreign)
            await gateway.client.post("/token")
            refused = await gateway.client.post("/token", headers=foreign)
            body = await refused.json()

        assert (too_large.status, (await too_large.json())["error"]) == (413, "invalid_request")
        assert (refused.status, refused.content_type, refused.headers["Cache-Control"]) == (
            429,
            "application/json",
            "no-store",
        )
        assert (body.keys(), body["error"]) == ({"error", "error_description"}, "slow_down")
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["Access-Control-Allow-Origin"] == "*"

    @pytest.mark.parametrize(
        ("method", "headers", "status"), [("PUT", {}, 405), ("POST", {"Content-Encoding": "gzip"}, 415)]
    )
    async def test_what_is_refused_before_an_oauth_endpoint_is_an_oauth_error(
        self, gateway: Gateway, service: Service, method: str, headers: dict[str, str], status: int
    ) -> None:
        refused = await gateway.client.request(method, "/token", data=b"x", headers=headers)
        body = await refused.json()

        assert (refused.status, body.keys()) == (status, {"error", "error_description"})
        assert refused.headers["Accept-Encoding" if status == 415 else "Allow"]
        assert service.requests == []

    async def test_rate_headers_of_a_service_are_dropped(self, gateway: Gateway, service: Service) -> None:
        async def claims(request: ServiceRequest) -> None:
            await request.answer(200, b"", (b"ratelimit", b'"mine";r=1;t=1'))

        service.on("/echo", claims)
        answer = await gateway.client.get("/echo")

        assert len(answer.headers.getall("RateLimit")) == 1
        assert answer.headers["RateLimit"].startswith('"default"')

    async def test_each_request_is_recorded(self, gateway: Gateway) -> None:
        await gateway.client.get("/echo/ann?ticket=secret")
        await gateway.client.get("/nowhere")
        found, lost = gateway.records

        assert (found.method, found.path, found.route, found.service) == ("GET", "/echo/ann", "/echo/{name}", "echo")
        assert (found.status, found.outcome, found.attempts, found.client) == (200, "complete", 1, "127.0.0.1")
        assert 0 < found.upstream_seconds <= found.seconds
        assert (lost.status, lost.route, lost.service) == (404, "unmatched", None)

    async def test_a_preflight_is_not_forwarded(self, gateway: Gateway, service: Service) -> None:
        preflight = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "if-match",
        }
        answer = await gateway.client.options("/echo", headers=preflight)

        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST, PUT"
        assert answer.headers["Access-Control-Allow-Headers"] == "if-match"
        assert answer.headers.getall("Access-Control-Allow-Origin") == [ORIGIN]
        assert service.requests == []


class SocketContract(DecidingContract):
    async def test_messages_pass_both_ways(self, gateway: Gateway, service: Service) -> None:
        async def echo(request: ServiceRequest) -> None:
            await request.receive()
            await request.send({"type": "websocket.accept", "subprotocol": "chat.2"})
            while (message := await request.receive())["type"] == "websocket.receive":
                await request.send(
                    {"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")}
                )

        service.on("/ws", echo)
        async with gateway.client.ws_connect("/ws?room=1", protocols=["chat.1", "chat.2"]) as socket:
            await socket.send_str("hé")
            await socket.send_bytes(b"\x00\xff")
            heard = [await socket.receive_str(), await socket.receive_bytes()]

        assert heard == ["hé", b"\x00\xff"]
        assert socket.protocol == "chat.2"
        assert service.requests[0].scope["subprotocols"] == ["chat.1", "chat.2"]
        assert service.requests[0].scope["query_string"] == b"room=1"

    async def test_a_close_by_the_service_reaches_the_client(self, gateway: Gateway, service: Service) -> None:
        async def close(request: ServiceRequest) -> None:
            await request.receive()
            await request.send({"type": "websocket.accept"})
            await request.send({"type": "websocket.send", "text": "last words"})
            await request.send({"type": "websocket.close", "code": 4001, "reason": "enough"})

        service.on("/ws", close)
        async with gateway.client.ws_connect("/ws") as socket:
            words = await socket.receive_str()
            closing = await socket.receive()

        assert words == "last words"
        assert (closing.type, closing.data, closing.extra) == (aiohttp.WSMsgType.CLOSE, 4001, "enough")

    async def test_a_close_by_the_client_reaches_the_service(self, gateway: Gateway, service: Service) -> None:
        heard: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

        async def listen(request: ServiceRequest) -> None:
            await request.receive()
            await request.send({"type": "websocket.accept"})
            message = await request.receive()
            heard.set_result((message["code"], message.get("reason", "")))

        service.on("/ws", listen)
        async with gateway.client.ws_connect("/ws") as socket:
            await socket.close(code=4002, message=b"bye")

        async with asyncio.timeout(60):
            assert await heard == (4002, "bye")

    async def test_stop_closes_both_sides(self, gateway: Gateway, service: Service) -> None:
        heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def listen(request: ServiceRequest) -> None:
            await request.receive()
            await request.send({"type": "websocket.accept"})
            heard.set_result((await request.receive())["code"])

        service.on("/ws", listen)
        async with gateway.client.ws_connect("/ws") as socket:
            gateway.proxy_app.stop()
            closing = await socket.receive()

            assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            async with asyncio.timeout(60):
                assert await heard == 1001

    async def test_a_refused_handshake_is_an_http_response(self, gateway: Gateway, service: Service) -> None:
        async def refuse(request: ServiceRequest) -> None:
            await request.receive()
            await request.send({"type": "websocket.close"})

        service.on("/ws", refuse)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await gateway.client.ws_connect("/ws")

        assert refused.value.status == 403

    async def test_a_handshake_to_an_unknown_path_is_404(self, gateway: Gateway) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await gateway.client.ws_connect("/nowhere")

        assert refused.value.status == 404

    async def test_an_exception_in_the_service_closes_the_websocket(self, gateway: Gateway, service: Service) -> None:
        async def broken(request: ServiceRequest) -> None:
            await request.receive()
            await request.send({"type": "websocket.accept"})
            raise RuntimeError("internal detail")

        service.on("/ws", broken)
        async with gateway.client.ws_connect("/ws") as socket:
            closing = await socket.receive()

        assert closing.data == 1011


class ProxyContract(SocketContract):
    """The complete contract."""
