"""What the fast plane remembers: it is found only by the same bytes, and what can change is checked each time."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.fast.raw_client import raw_client
from tests.gateway.proxy.gateways import Gateway, GatewaySetup, Kind, KnownTokens, gateway_for_app
from tests.gateway.proxy.scripted_service import Service, ServiceRequest
from tests.gateway.requests import a_principal

from portico.gateway.fast.memo import MAX_SHARED_HEAD, KnownFields, KnownPaths, KnownRoute, SharedFields
from portico.gateway.limits import Rate
from portico.gateway.request_ids import SentIds
from portico.gateway.routes import Route
from portico.gateway.upstreams import LocalUpstream
from portico.kit.calls.retries import RetryBudget
from portico.kit.http.request_body import BodyRateLimit
from portico.testing.clock import ManualClock

VALID = (
    b"GET /echo/ann?a=1 HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer ann\r\nAccept: a/b\r\n"
    b"X-Note: 1\r\nConnection: keep-alive\r\n\r\n"
)
VARYING = VALID.replace(
    b"X-Note: 1\r\n",
    b'X-Request-ID: mine\r\nIf-None-Match: "1"\r\n'
    b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX-Note: 1\r\n",
)
PROBE = b"GET /echo HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
NOT_COMPARED = {b"x-request-id", b"traceparent", b"x-forwarded-host", b"forwarded"}
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"%2e",
    b"..",
    b"/",
    b"#",
    b"\x00",
    b"\xff",
    b"_",
    b"Content-Length: 3\r\n",
]
PIECES += [
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"?",
    b",",
]


@dataclass(frozen=True)
class Mutation:
    """A change of a request: bytes at a position are replaced."""

    at: int
    removed: int
    inserted: bytes

    def of(self, request: bytes) -> bytes:
        at = self.at % len(request)
        return request[:at] + self.inserted + request[at + self.removed :]


MUTATIONS = st.builds(
    Mutation, st.integers(0, 400), st.integers(0, 3), st.one_of(st.sampled_from(PIECES), st.binary(max_size=2))
)


@dataclass
class Played:
    statuses: list[list[bytes]] = field(default_factory=list)
    seen: list[object] = field(default_factory=list)


async def play(requests: list[bytes], plane: str, valid: bytes = VALID) -> Played:
    """Send each request behind a valid one, on a connection of its own, and a probe behind it."""
    service, played = Service(), Played()
    setup = GatewaySetup(
        verifier=KnownTokens({"ann": a_principal(expires_at=4e9)}), body_rate=BodyRateLimit(grace=0.3), head_seconds=0.3
    )
    async with gateway_for_app("local", service, setup, plane=plane) as gateway:  # type: ignore[arg-type]  # a plane
        for request in requests:
            async with raw_client(gateway) as client:
                client.writer.write(valid)
                await client.read()
                client.writer.write(request + PROBE)
                received = await client.reader.read()
            played.statuses.append([part[:3] for part in received.split(b"HTTP/1.1 ")[1:]])
    played.seen = [
        (
            request.scope["method"],
            request.scope["raw_path"],
            request.scope["query_string"],
            sorted((name, value) for name, value in request.scope["headers"] if name not in NOT_COMPARED),
        )
        for request in service.requests
    ]
    return played


@settings(max_examples=40, deadline=None)
@given(st.lists(MUTATIONS, min_size=3, max_size=3))
def test_a_changed_request_is_served_as_on_the_asgi_plane(mutations: list[Mutation]) -> None:
    requests = [each.of(VALID) for each in mutations]

    assert asyncio.run(play(requests, "fast")) == asyncio.run(play(requests, "limited"))


@settings(max_examples=40, deadline=None)
@given(st.lists(MUTATIONS, min_size=3, max_size=3))
def test_a_changed_request_with_fields_that_vary_is_served_as_on_the_asgi_plane(mutations: list[Mutation]) -> None:
    requests = [each.of(VARYING) for each in mutations]

    assert asyncio.run(play(requests, "fast", VARYING)) == asyncio.run(play(requests, "limited", VARYING))


async def forwarded(gateway: Gateway, *requests: bytes) -> int:
    """Return how many of these requests the fast plane forwarded, on one connection."""
    assert gateway.fast is not None
    before = gateway.fast.forwarded
    async with raw_client(gateway) as client:
        for request in requests:
            client.writer.write(request)
            await client.read()
    return gateway.fast.forwarded - before


async def test_requests_with_the_same_and_with_other_fields_are_forwarded() -> None:
    service = Service()
    setup = GatewaySetup(verifier=KnownTokens({"ann": a_principal(expires_at=4e9)}))
    async with gateway_for_app("local", service, setup, plane="fast") as gateway:
        other = VALID.replace(b"X-Note: 1", b"X-Note: 2").replace(b"/ann", b"/bob")
        count = await forwarded(gateway, VALID, VALID, other, VALID.replace(b"a=1", b"a=2"))

    notes = [(request.headers[b"x-note"], request.scope["path"]) for request in service.requests]
    assert count == 4
    assert notes == [(b"1", "/echo/ann"), (b"1", "/echo/ann"), (b"2", "/echo/bob"), (b"1", "/echo/ann")]
    assert [request.scope["query_string"] for request in service.requests] == [b"a=1", b"a=1", b"a=1", b"a=2"]


async def test_each_request_has_its_own_ids() -> None:
    service = Service()
    async with gateway_for_app("local", service, plane="fast") as gateway, raw_client(gateway) as client:
        answers = [await client.get() for _ in range(2)]
        named = await client.get("/echo", "X-Request-ID: mine")

    ids = [answer.headers["x-request-id"] for answer in (*answers, named)]
    assert ids == [request.headers[b"x-request-id"].decode() for request in service.requests]
    assert len(set(ids)) == 3
    assert ids[2] == "mine"
    assert len({request.headers[b"traceparent"] for request in service.requests}) == 3


@pytest.mark.parametrize("kind", ["local", "socket"])
async def test_fields_that_vary_belong_to_their_request(kind: Kind) -> None:
    service = Service()
    traces = [f"00-4bf92f3577b34da6a3ce929d0e0e473{number}-00f067aa0ba902b7-01" for number in range(4)]
    async with gateway_for_app(kind, service, plane="fast") as gateway, raw_client(gateway) as client:
        await client.get()
        before = gateway.fast.forwarded if gateway.fast is not None else 0
        for number, trace in enumerate(traces):
            fields = [f"X-REQUEST-ID: id{number}", f"traceparent: {trace}", f'If-None-Match: "{number}"']
            answer = await client.get("/echo", *fields, "tracestate: a=b")
            assert answer.headers["x-request-id"] == f"id{number}"
        plain = await client.get("/echo", "X-Request-ID: not an id", "traceparent: nonsense", "tracestate: a=b")
        assert gateway.fast is not None
        assert gateway.fast.forwarded == before + 5

    *varied, last = service.requests[1:]
    names = (b"x-request-id", b"traceparent", b"if-none-match", b"tracestate")
    assert [tuple(request.headers[name] for name in names) for request in varied] == [
        (f"id{number}".encode(), trace.encode(), f'"{number}"'.encode(), b"a=b") for number, trace in enumerate(traces)
    ]
    assert last.headers[b"x-request-id"].decode() == plain.headers["x-request-id"] != "not an id"
    assert last.headers[b"traceparent"] != b"nonsense"
    assert b"tracestate" not in last.headers
    assert b"if-none-match" not in last.headers
    assert [request.scope["headers"].count((b"x-request-id", b"id1")) for request in varied] == [0, 1, 0, 0]


async def test_a_field_that_varies_but_occurs_twice_is_read_by_the_policy() -> None:
    service = Service()
    async with gateway_for_app("local", service, plane="fast") as gateway, raw_client(gateway) as client:
        for _ in range(2):
            answer = await client.get("/echo", "If-None-Match: 1", "If-None-Match: 2")
            assert answer.status == 200

    assert [value for name, value in service.requests[1].scope["headers"] if name == b"if-none-match"] == [b"1", b"2"]


async def test_a_request_that_is_handed_over_keeps_the_fields_that_vary() -> None:
    service = Service()

    async def stream(request: ServiceRequest) -> None:
        await request.begin(200, (b"content-type", b"text/event-stream"))  # the ASGI plane serves it
        await request.write(b"data: 1\n\n")
        await request.disconnected()

    async with gateway_for_app("socket", service, plane="fast") as gateway, raw_client(gateway) as client:
        await client.get()
        service.on("/echo", stream)
        client.send("/echo", "X-Request-ID: mine", 'If-None-Match: "7"')
        head = await client.reader.readuntil(b"\r\n\r\n")

    assert b"x-request-id: mine\r\n" in head.lower()
    assert service.requests[-1].headers[b"if-none-match"] == b'"7"'


async def test_connections_of_a_client_share_what_is_known_of_header_fields() -> None:
    service = Service()
    async with gateway_for_app("local", service, plane="fast") as gateway:
        assert gateway.fast is not None
        for _ in range(3):
            async with raw_client(gateway) as client:
                await client.get("/echo", "X-Note: shared")
        assert len(gateway.fast.shared) == 1
        async with raw_client(gateway) as client:
            await client.get("/echo", "X-Note: other")
        assert len(gateway.fast.shared) == 2

    assert [request.headers[b"x-note"] for request in service.requests] == [b"shared"] * 3 + [b"other"]


async def test_a_token_that_was_withdrawn_is_refused_on_another_connection() -> None:
    tokens = KnownTokens({"ann": a_principal(expires_at=4e9)})
    async with gateway_for_app("local", Service(), GatewaySetup(verifier=tokens), plane="fast") as gateway:
        async with raw_client(gateway) as client:
            assert (await client.get("/me", "Authorization: Bearer ann")).status == 200
        del tokens.tokens["ann"]
        async with raw_client(gateway) as client:
            assert (await client.get("/me", "Authorization: Bearer ann")).status == 401


async def test_a_token_that_was_verified_again_is_known_again() -> None:
    tokens = KnownTokens({"ann": a_principal(expires_at=4e9)})
    async with (
        gateway_for_app("local", Service(), GatewaySetup(verifier=tokens), plane="fast") as gateway,
        raw_client(gateway) as client,
    ):
        assert gateway.fast is not None
        await client.get("/me", "Authorization: Bearer ann")
        tokens.tokens["ann"] = a_principal(expires_at=5e9)
        before = gateway.fast.forwarded
        statuses = [(await client.get("/me", "Authorization: Bearer ann")).status for _ in range(3)]

    assert statuses == [200] * 3
    assert gateway.fast.forwarded == before + 2


async def test_a_token_that_was_valid_before_is_refused_when_it_expires() -> None:
    clock = ManualClock()
    tokens = KnownTokens({"ann": a_principal(expires_at=clock.now().timestamp() + 60)})
    async with (
        gateway_for_app("local", Service(), GatewaySetup(verifier=tokens, clock=clock), plane="fast") as gateway,
        raw_client(gateway) as client,
    ):
        before = await client.get("/me", "Authorization: Bearer ann")
        clock.advance(600)
        after = await client.get("/me", "Authorization: Bearer ann")

    assert (before.status, after.status) == (200, 401)


async def test_a_token_that_is_not_valid_any_more_is_refused() -> None:
    tokens = KnownTokens({"ann": a_principal(expires_at=4e9)})
    async with (
        gateway_for_app("local", Service(), GatewaySetup(verifier=tokens), plane="fast") as gateway,
        raw_client(gateway) as client,
    ):
        before = await client.get("/me", "Authorization: Bearer ann")
        del tokens.tokens["ann"]
        after = await client.get("/me", "Authorization: Bearer ann")

    assert (before.status, after.status) == (200, 401)


async def test_a_token_of_another_caller_is_not_confused_with_a_known_one() -> None:
    tokens = KnownTokens({"ann": a_principal(expires_at=4e9), "bob": a_principal(expires_at=0.0)})
    async with (
        gateway_for_app("local", Service(), GatewaySetup(verifier=tokens), plane="fast") as gateway,
        raw_client(gateway) as client,
    ):
        statuses = [
            (await client.get("/me", *fields)).status
            for fields in (
                ["Authorization: Bearer ann"],
                ["Authorization: Bearer bob"],
                [],
                ["Authorization: Bearer x"],
            )
        ]

    assert statuses == [200, 401, 401, 401]


async def test_requests_of_both_planes_count_against_one_rate() -> None:
    rates = {"default": Rate("default", 3, 60), "sign_in": Rate("sign_in", 2, 60)}
    async with (
        gateway_for_app("local", Service(), GatewaySetup(rates=rates), plane="fast") as gateway,
        raw_client(gateway) as client,
    ):
        answers = [await client.get("/echo"), await client.get("/echo", "Expect: nothing")]
        answers += [await client.get("/echo"), await client.get("/echo")]

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]
    assert [record.rate_limited for record in gateway.records] == [False, False, False, True]


def known_route() -> KnownRoute:
    return KnownRoute(Route("echo", "GET", "/echo/{name}"), LocalUpstream("echo", Service()), RetryBudget())


def test_a_long_path_is_not_remembered() -> None:
    paths, long = KnownPaths(), b"GET /echo/" + b"x" * 300

    paths.add(long, known_route())

    assert paths.find(long) is None


async def test_a_long_head_is_served_by_the_asgi_plane() -> None:
    async with gateway_for_app("local", Service(), plane="fast") as gateway, raw_client(gateway) as client:
        answer = await client.get("/echo", "X-Note: " + "x" * 9000)

    assert answer.status == 200
    assert gateway.fast is not None
    assert gateway.fast.forwarded == 0


def test_the_number_of_paths_is_bounded() -> None:
    paths, route = KnownPaths(limit=10), known_route()
    for number in range(25):
        paths.add(b"GET /echo/%d" % number, route)

    assert len(paths) == 5
    assert paths.find(b"GET /echo/24") is route
    assert paths.find(b"GET /echo/1") is None


def known_fields(sent: bytes) -> KnownFields:
    return KnownFields(sent, [], SentIds(None, None, None))


def test_shared_fields_are_bounded_by_their_size() -> None:
    shared = SharedFields(limit=100_000)
    for number in range(1000):
        shared.add("192.0.2.7", "http", known_fields(b"%04d" % number + b"x" * 1000))
        shared.find("192.0.2.7", "http", b"0000" + b"x" * 1000)

    assert 10 <= len(shared) <= 20
    assert shared.find("192.0.2.7", "http", b"0000" + b"x" * 1000) is not None
    assert shared.find("192.0.2.7", "http", b"0001" + b"x" * 1000) is None


def test_shared_fields_belong_to_one_address_and_scheme() -> None:
    shared = SharedFields()
    shared.add("192.0.2.7", "http", known_fields(b"Host: a"))
    shared.add("192.0.2.7", "http", known_fields(b"x" * (MAX_SHARED_HEAD + 1)))

    assert shared.find("192.0.2.7", "http", b"Host: a") is not None
    assert shared.find("192.0.2.8", "http", b"Host: a") is None
    assert shared.find("192.0.2.7", "https", b"Host: a") is None
    assert len(shared) == 1


async def test_what_is_known_of_a_route_is_shared_by_its_callers() -> None:
    principals = {name: a_principal(expires_at=4e9) for name in ("ann", "bob", "eve")}
    counted: list[tuple[str, int]] = []

    class Counter:
        def add(self, seconds: float, upstream_seconds: float) -> None:
            """Count nothing."""

    def counter(_method: str, route: str, _service: str, status: int) -> Counter:
        counted.append((route, status))
        return Counter()

    setup = GatewaySetup(verifier=KnownTokens(principals))
    async with gateway_for_app("local", Service(), setup, plane="fast") as gateway, raw_client(gateway) as client:
        gateway.proxy_app.observer.counter = counter  # type: ignore[method-assign]
        statuses = [(await client.get("/me", f"Authorization: Bearer {name}")).status for name in principals]

    assert statuses == [200, 200, 200]
    assert counted == [("/me", 200)]


async def test_other_fields_do_not_displace_known_paths() -> None:
    async with gateway_for_app("local", Service(), plane="fast") as gateway, raw_client(gateway) as client:
        assert gateway.fast is not None
        gateway.fast.paths = paths = KnownPaths(limit=2)
        await client.get("/echo/ann")
        await client.get("/echo/bob")
        await client.get("/echo/ann", "X-Note: other")

    assert len(paths) == 2


async def test_fields_that_were_dropped_are_decided_about_again() -> None:
    tokens = KnownTokens({"ann": a_principal(expires_at=4e9), "bob": a_principal(expires_at=4e9)})
    async with gateway_for_app("local", Service(), GatewaySetup(verifier=tokens), plane="fast") as gateway:
        assert gateway.fast is not None
        gateway.fast.shared = shared = SharedFields(limit=SharedFields.OBJECTS + 1000)
        statuses = []
        for name in ("ann", "bob", "ann", "bob", "bob"):
            async with raw_client(gateway) as client:
                statuses.append((await client.get("/me", f"Authorization: Bearer {name}")).status)
            assert len(shared) == 1
        del tokens.tokens["ann"]
        async with raw_client(gateway) as client:
            statuses.append((await client.get("/me", "Authorization: Bearer ann")).status)

    assert statuses == [200] * 5 + [401]
    assert gateway.fast.forwarded == 5
