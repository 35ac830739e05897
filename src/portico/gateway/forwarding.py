"""The header fields that go on: what a service is told of a request, and what a client is told of an answer."""

from collections.abc import Iterable, Sequence

from portico.gateway.addresses import TrustedProxies
from portico.gateway.decisions import Forward
from portico.gateway.request_head import HOP_BY_HOP, Fields, Header, RequestHead
from portico.gateway.request_ids import RequestIds

# The answer's own words for these are the gateway's: its server names and dates it, its CORS is the only one, and it is
# the gateway that counts requests.
NOT_PASSED_BACK = HOP_BY_HOP | frozenset(
    (
        b"date",
        b"server",
        b"x-request-id",
        b"x-powered-by",
        b"ratelimit",
        b"ratelimit-policy",
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-expose-headers",
        b"access-control-max-age",
        b"access-control-allow-private-network",
    )
)

# Added where the service says nothing of the kind itself.
SECURITY_FIELDS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


def fields_for_service(
    head: RequestHead, decision: Forward, trail: RequestIds, proxies: TrustedProxies
) -> list[Header]:
    """The request's fields without `Host`, which is the upstream's to say.

    Whatever the client said of addresses, hosts and schemes is gone, unless a trusted proxy sent it.
    """
    fields = decision.fields
    headers = list(fields.passing)
    headers.append((b"x-request-id", trail.request_id.encode()))
    headers.append((b"traceparent", str(trail.span.context).encode()))
    if trail.tracestate is not None:
        headers.append((b"tracestate", trail.tracestate))
    if not decision.route.streams:
        headers.append((b"x-request-deadline-ms", b"%d" % (decision.timeout * 1000)))
    headers.extend(_forwarded(head, fields, trusted=proxies.trusts(head.peer)))
    return headers


def _forwarded(head: RequestHead, fields: Fields, *, trusted: bool) -> list[Header]:
    """`X-Forwarded-*` and `Forwarded` (RFC 7239), with what a trusted proxy said before."""
    peer = head.peer.encode()
    host = fields.get(b"host") or b""
    scheme = head.scheme.encode()
    chain, element = peer, _element(peer, host, scheme)
    if trusted:
        host = fields.get(b"x-forwarded-host") or host
        scheme = _scheme(fields.get(b"x-forwarded-proto")) or scheme
        chain = _after(fields.get(b"x-forwarded-for"), peer)
        element = _after(fields.get(b"forwarded"), element)
    return [
        (b"x-forwarded-for", chain),
        (b"x-forwarded-proto", scheme),
        (b"x-forwarded-host", host),
        (b"forwarded", element),
    ]


def _element(peer: bytes, host: bytes, scheme: bytes) -> bytes:
    node = b'"[%b]"' % peer if b":" in peer else peer
    return b'for=%b;host="%b";proto=%b' % (node, host, scheme)


def _after(before: bytes | None, own: bytes) -> bytes:
    return own if before is None else before + b", " + own


def _scheme(said: bytes | None) -> bytes | None:
    nearest = said.rsplit(b",", 1)[-1].strip().lower() if said is not None else None
    return nearest if nearest in {b"http", b"https"} else None


def fields_for_client(headers: Sequence[Header], added: Iterable[Header]) -> list[Header]:
    """The answer's fields: without what ends here (RFC 9110 section 7.6.1), with what the gateway adds."""
    named = {name.strip().lower() for key, value in headers if key == b"connection" for name in value.split(b",")} - {
        b"content-length",
        b"content-type",
    }
    passed = [field for field in headers if field[0] not in NOT_PASSED_BACK and field[0] not in named]
    present = {name for name, _ in passed}
    passed.extend(field for field in SECURITY_FIELDS if field[0] not in present)
    passed.extend(field for field in added if field not in passed)
    return passed
