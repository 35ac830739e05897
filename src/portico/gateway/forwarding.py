"""Header fields that the gateway forwards: request fields to services, and response fields to clients."""

from collections.abc import Iterable, Sequence

from portico.gateway.client_address import TrustedProxies
from portico.gateway.decisions import Forward
from portico.gateway.request_head import HOP_BY_HOP, Fields, Header, RequestHead
from portico.gateway.request_ids import RequestIds

# Response headers that only the gateway may set: its server adds Date and Server, and it applies CORS and rate limits.
GATEWAY_ONLY = HOP_BY_HOP | frozenset(
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

# Added if the service did not set them.
SECURITY_FIELDS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


def upstream_headers(head: RequestHead, decision: Forward, ids: RequestIds, proxies: TrustedProxies) -> list[Header]:
    """Return the headers for the service, without `Host`. The upstream sets `Host`."""
    return [*id_headers(ids), *passing_headers(head, decision, proxies)]


def id_headers(ids: RequestIds) -> list[Header]:
    """Return the headers for the service that differ between otherwise equal requests."""
    headers = [(b"x-request-id", ids.request_id.encode()), (b"traceparent", str(ids.span.context).encode())]
    if ids.tracestate is not None:
        headers.append((b"tracestate", ids.tracestate))
    return headers


def passing_headers(head: RequestHead, decision: Forward, proxies: TrustedProxies) -> list[Header]:
    """Return the headers for the service that are the same for requests with the same header fields and route.

    Forwarding headers of the client (addresses, hosts, schemes) are dropped unless a trusted proxy sent them.
    """
    fields = decision.fields
    headers = list(fields.forwarded)
    if not decision.route.streams:
        headers.append((b"x-request-deadline-ms", b"%d" % (decision.timeout * 1000)))
    headers.extend(_forwarded(head, fields, trusted=proxies.trusts(head.peer)))
    return headers


def _forwarded(head: RequestHead, fields: Fields, *, trusted: bool) -> list[Header]:
    """Return `X-Forwarded-*` and `Forwarded` (RFC 7239), appended to the values of a trusted proxy."""
    peer = head.peer.encode()
    host = fields.get(b"host") or b""
    scheme = head.scheme.encode()
    chain, element = peer, _element(peer, host, scheme)
    if trusted:
        host = fields.get(b"x-forwarded-host") or host
        scheme = _scheme(fields.get(b"x-forwarded-proto")) or scheme
        chain = _append(fields.get(b"x-forwarded-for"), peer)
        element = _append(fields.get(b"forwarded"), element)
    return [
        (b"x-forwarded-for", chain),
        (b"x-forwarded-proto", scheme),
        (b"x-forwarded-host", host),
        (b"forwarded", element),
    ]


def _element(peer: bytes, host: bytes, scheme: bytes) -> bytes:
    node = b'"[%b]"' % peer if b":" in peer else peer
    return b'for=%b;host="%b";proto=%b' % (node, host, scheme)


def _append(previous: bytes | None, own: bytes) -> bytes:
    return own if previous is None else previous + b", " + own


def _scheme(value: bytes | None) -> bytes | None:
    nearest = value.rsplit(b",", 1)[-1].strip().lower() if value is not None else None
    return nearest if nearest in {b"http", b"https"} else None


def client_headers(headers: Sequence[Header], added: Iterable[Header]) -> list[Header]:
    """Return the response headers without hop-by-hop fields (RFC 9110 section 7.6.1), with those the gateway adds."""
    named = {name.strip().lower() for key, value in headers if key == b"connection" for name in value.split(b",")} - {
        b"content-length",
        b"content-type",
    }
    forwarded = [field for field in headers if field[0] not in GATEWAY_ONLY and field[0] not in named]
    present = {name for name, _ in forwarded}
    forwarded.extend(field for field in SECURITY_FIELDS if field[0] not in present)
    forwarded.extend(field for field in added if field not in forwarded)
    return forwarded
