"""Builders of request heads, callers and policies for the gateway's tests."""

from collections.abc import Sequence
from datetime import UTC, datetime

from portico.gateway.decisions import Caller
from portico.gateway.limits import Rate
from portico.gateway.policy import Policy, RouteDefaults
from portico.gateway.request_head import Header, RequestHead
from portico.gateway.routes import WEBSOCKET, Route, RouteTable
from portico.kit.auth.access import Access
from portico.kit.auth.principal import Principal

HOST = (b"host", b"gateway.example")
OWN = {"/health": "health", "/health/ready": "ready"}
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
DEFAULT = Rate("default", 100, 60)
SIGN_IN = Rate("sign_in", 10, 60, scope="address")

ROUTES = (
    Route("catalog", "GET", "/products"),
    Route("catalog", "POST", "/products", Access("permission", "products:write")),
    Route("catalog", "GET", "/products/{product_id}"),
    Route("catalog", "DELETE", "/products/{product_id}", Access("permission", "products:write"), timeout=5.0),
    Route("catalog", "POST", "/products/batch", Access("permission", "products:write"), body_limit=8 << 20),
    Route("identity", "POST", "/login", rate="sign_in"),
    Route("identity", "GET", "/auth/me", Access("signed_in")),
    Route("identity", "GET", "/feed", Access("optional")),
    Route("identity", "GET", "/.well-known/jwks.json", any_origin=True),
    Route("identity", WEBSOCKET, "/ws", Access("signed_in"), streams=True),
)


def a_policy(routes: Sequence[Route] = ROUTES, **options: object) -> Policy:
    defaults = RouteDefaults(rates={"default": DEFAULT, "sign_in": SIGN_IN})
    return Policy(RouteTable(routes), defaults=defaults, own=OWN, **options)


def a_head(
    method: str = "GET", path: bytes = b"/products", *headers: Header, host: Header | None = HOST, **rest: object
) -> RequestHead:
    sent = headers if host is None else (host, *headers)
    return RequestHead(method, path, headers=sent, peer=str(rest.pop("peer", "203.0.113.7")), **rest)


def a_principal(*permissions: str, subject: str = "user_1", expires_at: float = NOW + 600) -> Principal:
    return Principal(
        subject=subject,
        kind="service" if subject.startswith("service:") else "user",
        permissions=frozenset(permissions),
        roles=(),
        token_id="t1",
        session_id="s1",
        issued_at=datetime.fromtimestamp(NOW, UTC),
        expires_at=datetime.fromtimestamp(expires_at, UTC),
    )


def known(*permissions: str, **rest: object) -> Caller:
    return Caller("known", a_principal(*permissions, **rest))
