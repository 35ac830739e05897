import pytest
from tests.gateway.requests import NOW, a_head, a_policy

from portico.gateway.client_address import TrustedProxies
from portico.gateway.decisions import Forward
from portico.gateway.forwarding import client_headers, upstream_headers
from portico.gateway.request_head import Header
from portico.gateway.request_ids import RequestIds, request_ids_of
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Span, Tracing

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
IDS = RequestIds("req-1", Span(TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True)))


def forwarded_headers(
    *headers: Header, peer: str = "203.0.113.7", proxies: TrustedProxies | None = None
) -> dict[bytes, bytes]:
    proxies = proxies or TrustedProxies()
    head = a_head("GET", b"/products", *headers, peer=peer)
    decision = a_policy(proxies=proxies).decide(head, NOW)
    assert isinstance(decision, Forward)
    fields = upstream_headers(head, decision, IDS, proxies)
    assert len({name for name, _ in fields}) == len(fields)
    return dict(fields)


class TestRequestHeaders:
    def test_a_service_gets_the_client_and_the_request_ids(self) -> None:
        assert forwarded_headers((b"accept", b"application/json")) == {
            b"accept": b"application/json",
            b"x-request-id": b"req-1",
            b"traceparent": TRACEPARENT.encode(),
            b"x-request-deadline-ms": b"30000",
            b"x-forwarded-for": b"203.0.113.7",
            b"x-forwarded-proto": b"http",
            b"x-forwarded-host": b"gateway.example",
            b"forwarded": b'for=203.0.113.7;host="gateway.example";proto=http',
        }

    def test_forged_forwarding_headers_are_dropped(self) -> None:
        forged = [
            (b"x-forwarded-for", b"1.1.1.1"),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-host", b"evil.example"),
            (b"forwarded", b"for=1.1.1.1"),
            (b"x-request-deadline-ms", b"999999999"),
            (b"x-real-ip", b"1.1.1.1"),
            (b"x-original-url", b"/admin"),
        ]

        assert forwarded_headers(*forged) == forwarded_headers()

    def test_forwarding_headers_of_a_trusted_proxy_are_extended(self) -> None:
        said = [
            (b"x-forwarded-for", b"198.51.100.9"),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-host", b"shop.example"),
            (b"forwarded", b"for=198.51.100.9"),
        ]
        fields = forwarded_headers(*said, peer="10.0.0.2", proxies=TrustedProxies(["10.0.0.0/8"]))

        assert fields[b"x-forwarded-for"] == b"198.51.100.9, 10.0.0.2"
        assert fields[b"x-forwarded-proto"] == b"https"
        assert fields[b"x-forwarded-host"] == b"shop.example"
        assert fields[b"forwarded"] == b'for=198.51.100.9, for=10.0.0.2;host="gateway.example";proto=http'

    def test_an_ipv6_client_is_quoted_in_forwarded(self) -> None:
        assert forwarded_headers(peer="2001:db8::1")[b"forwarded"].startswith(b'for="[2001:db8::1]";')


class TestResponseHeaders:
    def test_hop_by_hop_headers_are_dropped(self) -> None:
        answer = client_headers(
            [
                (b"content-type", b"text/plain"),
                (b"connection", b"close, x-hop"),
                (b"x-hop", b"1"),
                (b"transfer-encoding", b"chunked"),
                (b"keep-alive", b"timeout=5"),
                (b"server", b"uvicorn"),
                (b"set-cookie", b"a=1"),
                (b"set-cookie", b"b=2"),
            ],
            [(b"x-request-id", b"req-1")],
        )

        assert answer == [
            (b"content-type", b"text/plain"),
            (b"set-cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"x-request-id", b"req-1"),
        ]

    def test_cors_of_a_service_is_dropped_and_its_security_headers_are_kept(self) -> None:
        answer = client_headers(
            [(b"access-control-allow-origin", b"*"), (b"x-frame-options", b"SAMEORIGIN"), (b"vary", b"Accept")], []
        )

        assert (b"access-control-allow-origin", b"*") not in answer
        assert (b"x-frame-options", b"SAMEORIGIN") in answer
        assert (b"x-frame-options", b"DENY") not in answer
        assert (b"vary", b"Accept") in answer

    def test_headers_of_the_service_are_not_duplicated(self) -> None:
        answer = client_headers([(b"vary", b"Origin"), (b"vary", b"Accept")], [(b"vary", b"Origin")])

        assert [value for name, value in answer if name == b"vary"] == [b"Origin", b"Accept"]


def given_ids(*headers: Header) -> RequestIds:
    return request_ids_of(a_head("GET", b"/products", *headers), Tracing.off(), own=())


class TestRequestIds:
    def test_a_well_formed_id_and_trace_are_used(self) -> None:
        trail = given_ids((b"x-request-id", b"abc-1"), (b"traceparent", TRACEPARENT.encode()), (b"tracestate", b"a=b"))

        assert (trail.request_id, str(trail.span.context), trail.tracestate) == ("abc-1", TRACEPARENT, b"a=b")

    @pytest.mark.parametrize("value", [b"", b"a b", b"x" * 129, b"a\xffb", b"<script>"])
    def test_a_malformed_id_is_replaced(self, value: bytes) -> None:
        assert given_ids((b"x-request-id", value)).request_id != value.decode("latin-1")

    @pytest.mark.parametrize("value", [b"", b"00-0-0-00", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01", b"\xff"])
    def test_a_malformed_trace_is_replaced(self, value: bytes) -> None:
        trail = given_ids((b"traceparent", value), (b"tracestate", b"a=b"))

        assert trail.tracestate is None
        assert TraceContext.parse(str(trail.span.context)) is not None

    def test_two_are_never_the_same(self) -> None:
        one, other = given_ids(), given_ids()

        assert one.request_id != other.request_id
        assert one.span.context.trace_id != other.span.context.trace_id
