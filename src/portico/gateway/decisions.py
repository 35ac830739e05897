"""Decisions of the policy, and the inputs that it needs to decide."""

from dataclasses import dataclass, field
from typing import Literal

from portico.gateway.limits import Rate, Verdict
from portico.gateway.request_head import Fields, Header
from portico.gateway.routes import Route
from portico.kit.auth.principal import Principal
from portico.kit.foundation.ip_addresses import address_key
from portico.kit.foundation.problems import Problem


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request.

    Args:
        state: `anonymous` (no token), `known` (valid token), `invalid` (`reason` says why), `unverifiable` (the token
            cannot be verified now; retry in `retry_after` seconds) or `ticket` (a one-time ticket that only its
            service can redeem).
    """

    state: Literal["anonymous", "known", "invalid", "unverifiable", "ticket"]
    principal: Principal | None = None
    reason: str = ""
    retry_after: float = 1.0


ANONYMOUS = Caller("anonymous")
TICKET = Caller("ticket")


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """The inputs of a decision that need I/O: the caller and the rate limit's verdict."""

    caller: Caller = ANONYMOUS
    verdict: Verdict | None = None


@dataclass(slots=True)
class MatchedRequest:
    """A valid request with a route. The caller and the rate limit are not checked yet.

    Args:
        token: The bearer token of the request.
        client: The client's address: the connection's peer, or the client that a trusted proxy reports.
        rate: The rate that applies.
        page: The gateway's own page to which the route leads, if any.
    """

    route: Route
    fields: Fields
    token: str | None
    ticket: bool
    client: str
    rate: Rate
    page: str | None = None

    def rate_limit_key(self, caller: Caller) -> str:
        """Return the key for counting against the rate: the caller if known, otherwise the client's address."""
        if caller.principal is not None and self.rate.scope == "caller":
            return f"{self.rate.name}:{caller.principal.subject}"
        return f"{self.rate.name}:@{address_key(self.client)}"


@dataclass(slots=True)
class Forward:
    """Forward the request to `route.service`.

    Args:
        timeout: Seconds until the response must have begun.
        body_limit: Maximum size of the request body in bytes.
        is_repeatable: Whether the request is safe and has no body, so another instance may be tried if one fails.
    """

    route: Route
    fields: Fields
    client: str
    caller: Caller
    verdict: Verdict | None
    timeout: float
    body_limit: int
    is_repeatable: bool


@dataclass(slots=True)
class Upgrade(Forward):
    """Forward the request to `route.service` as a WebSocket."""


@dataclass(slots=True)
class Refuse:
    """Respond with this problem."""

    problem: Problem
    route: Route | None = None
    verdict: Verdict | None = None


@dataclass(slots=True)
class OwnPage:
    """Respond with one of the gateway's own pages: health, metrics, API documents."""

    name: str


@dataclass(slots=True)
class Preflight:
    """Respond to a CORS preflight with these headers."""

    headers: list[Header]


Decision = Forward | Upgrade | Refuse | OwnPage | Preflight


@dataclass(slots=True)
class Explanation:
    """A decision and its reasons, one sentence each, in the order in which they were checked."""

    decision: Decision
    reasons: list[str] = field(default_factory=list)
