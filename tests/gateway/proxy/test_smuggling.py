"""Request smuggling: ambiguous requests, sent as raw bytes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.gateway.proxy.gateways import Gateway, gateway_for_app
from tests.gateway.proxy.scripted_service import Service

GET = b"GET /echo HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
SMUGGLED = b"GET /me HTTP/1.1\r\nHost: gateway\r\n\r\n"


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(params=["asgi", "fast"])
async def gateway(service: Service, request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    async with gateway_for_app("socket", service, plane=request.param) as gateway:
        yield gateway


async def exchange(gateway: Gateway, sent: bytes) -> bytes:
    """Send raw bytes and return everything received until the connection closes."""
    host, port = gateway.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    try:
        async with asyncio.timeout(60):
            return await reader.read(-1)
    finally:
        writer.close()


def statuses(answers: bytes) -> list[int]:
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


class TestFraming:
    @pytest.mark.parametrize(
        "headers",
        [
            b"Content-Length: 5\r\nContent-Length: 6\r\n",
            b"Content-Length: 5\r\nContent-Length: 5\r\n",
            b"Content-Length: 5, 5\r\n",
            b"Content-Length: +5\r\n",
            b"Content-Length: 0x5\r\n",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: chunked, identity\r\n",
            b"Transfer-Encoding: gzip, chunked\r\n",
            b"Transfer-Encoding : chunked\r\n",
            b" Transfer-Encoding: chunked\r\n",
            b"X: a\r\n Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding:\x0bchunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        ],
    )
    async def test_ambiguous_framing_is_refused(self, gateway: Gateway, service: Service, headers: bytes) -> None:
        answers = await exchange(gateway, POST + headers + b"\r\n0\r\n\r\n" + SMUGGLED)

        assert statuses(answers)[0] in {400, 501}
        assert service.requests == []

    async def test_a_bare_line_feed_does_not_end_a_header(self, gateway: Gateway, service: Service) -> None:
        await exchange(gateway, GET + b"X: 1\nX-Request-Deadline-Ms: 7\r\n\r\n")

        assert all(request.headers.get(b"x-request-deadline-ms") != b"7" for request in service.requests)

    @pytest.mark.parametrize("value", [b"a\x00b", b"a\rb", b"a\x7fb", b"\xff\xfe"])
    async def test_invalid_bytes_in_a_header_are_refused(
        self, gateway: Gateway, service: Service, value: bytes
    ) -> None:
        answers = await exchange(gateway, GET + b"X-Note: " + value + b"\r\n\r\n")

        assert statuses(answers) == [400]
        assert service.requests == []

    async def test_chunk_extensions_and_trailers_are_dropped(self, gateway: Gateway, service: Service) -> None:
        body = b"4;ext=1\r\nabcd\r\n3\r\nefg\r\n0\r\nX-Request-Deadline-Ms: 7\r\n\r\n"
        answers = await exchange(gateway, POST + b"Transfer-Encoding: chunked\r\n\r\n" + body)

        assert statuses(answers) == [200]
        assert b'"body":"abcdefg"' in answers
        assert service.requests[0].headers[b"x-request-deadline-ms"] != b"7"


class TestTargets:
    @pytest.mark.parametrize(
        "target",
        [
            b"//echo",
            b"/echo/../me",
            b"/echo/%2e%2e/me",
            b"/echo/..%2fme",
            b"/echo%2fann",
            b"/echo/a%5cb",
            b"/echo/%00",
            b"/echo/a%0d%0aX:1",
            b"/echo/%zz",
            b"/echo/%ff",
            b"/echo/;/../me",
            b"/echo/a\\..\\me",
        ],
    )
    async def test_an_ambiguous_path_is_refused(self, gateway: Gateway, service: Service, target: bytes) -> None:
        answers = await exchange(gateway, b"GET " + target + b" HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")

        assert statuses(answers) == [400]
        assert service.requests == []

    async def test_only_the_path_of_an_absolute_target_counts(self, gateway: Gateway, service: Service) -> None:
        answers = await exchange(
            gateway, b"GET http://evil.example/echo HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
        )

        assert statuses(answers) == [200]
        assert b"evil.example" not in answers

    @pytest.mark.parametrize("target", [b"*", b"echo", b"evil.example:443"])
    async def test_other_forms_are_refused(self, gateway: Gateway, service: Service, target: bytes) -> None:
        answers = await exchange(gateway, b"GET " + target + b" HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")

        assert [status // 100 for status in statuses(answers)] == [4]
        assert service.requests == []


class TestHosts:
    @pytest.mark.parametrize(
        "hosts", [b"", b"Host: a\r\nHost: b\r\n", b"Host: a/b\r\n", b"Host: x@a\r\n", b"Host: a b\r\n", b"Host: \r\n"]
    )
    async def test_a_missing_repeated_or_invalid_host_is_refused(
        self, gateway: Gateway, service: Service, hosts: bytes
    ) -> None:
        answers = await exchange(gateway, b"GET /echo HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")

        assert statuses(answers) == [400]
        assert service.requests == []


class TestGuarded:
    @pytest.mark.parametrize(
        "header",
        [
            b"X_Request_Deadline_Ms: 7",
            b"x-request-deadline-ms: 7",
            b"X_Forwarded_For: 7",
            b"X-Forwarded-Prefix: 7",
            b"X-Original-URL: 7",
            b"Connection: close, x-forwarded-for, authorization-not",
            b"Proxy: 7",
            b"Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: 7",
        ],
    )
    async def test_guarded_headers_do_not_reach_the_service(
        self, gateway: Gateway, service: Service, header: bytes
    ) -> None:
        await exchange(gateway, GET + header + b"\r\n\r\n")

        assert service.requests
        for request in service.requests:
            assert b"7" not in [value for _, value in request.scope["headers"]]
            assert request.headers[b"x-forwarded-for"] == b"127.0.0.1"
            assert b"upgrade" not in request.headers


class TestPipelines:
    async def test_pipelined_requests_get_one_response_each(self, gateway: Gateway) -> None:
        answers = await exchange(gateway, b"GET /echo HTTP/1.1\r\nHost: gateway\r\n\r\n" + GET + b"\r\n")

        assert statuses(answers) == [200, 200]
