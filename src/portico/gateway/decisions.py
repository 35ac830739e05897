"""What the gateway can make of a request, and what it must know to say so."""

from dataclasses import dataclass, field
from typing import Literal

from portico.gateway.addresses import counted_address
from portico.gateway.rates import Rate, Verdict
from portico.gateway.request_head import Fields, Header
from portico.gateway.routes import Route
from portico.kit.auth.principal import Principal
from portico.kit.foundation.problems import Problem


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of who calls.

    Args:
        state: `nobody` (no token), `known`, `invalid` (`reason` says why), `unverifiable` (nobody could be asked:
            `retry_after` seconds) or `ticket` (a one-time ticket that only its service can redeem).
    """

    state: Literal["nobody", "known", "invalid", "unverifiable", "ticket"]
    principal: Principal | None = None
    reason: str = ""
    retry_after: float = 1.0


NOBODY = Caller("nobody")
TICKET = Caller("ticket")


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """What was found out for one request: the inputs of a decision that need I/O."""

    caller: Caller = NOBODY
    verdict: Verdict | None = None


@dataclass(slots=True)
class Matched:
    """A request that can be read and has a route: what remains is who calls, and how often.

    Args:
        token: The bearer token it carries.
        client: The address of the client: the connection's, or what a trusted proxy says.
        rate: Which rate counts it.
    """

    route: Route
    fields: Fields
    token: str | None
    ticket: bool
    client: str
    rate: Rate

    def rate_limit_key(self, caller: Caller) -> str:
        """Whom the rate counts: the caller where one is known, else the address."""
        if caller.principal is not None and self.rate.per == "caller":
            return f"{self.rate.name}:{caller.principal.subject}"
        return f"{self.rate.name}:@{counted_address(self.client)}"


@dataclass(slots=True)
class Forward:
    """Send it to `route.service`.

    Args:
        timeout: Seconds until the answer must have begun.
        body_limit: Bytes the request's body may have.
        repeatable: It changes nothing and has no body: another instance may be asked if one fails.
    """

    route: Route
    fields: Fields
    client: str
    caller: Caller
    verdict: Verdict | None
    timeout: float
    body_limit: int
    repeatable: bool


@dataclass(slots=True)
class Upgrade(Forward):
    """Send it to `route.service` as a WebSocket."""


@dataclass(slots=True)
class Refuse:
    """Answer with this problem."""

    problem: Problem
    route: Route | None = None
    verdict: Verdict | None = None


@dataclass(slots=True)
class Own:
    """The gateway answers this itself: health, metrics, documents."""

    name: str


@dataclass(slots=True)
class Preflight:
    """A browser asks whether another origin may send a request (CORS): the answer's header fields."""

    headers: list[Header]


Decision = Forward | Upgrade | Refuse | Own | Preflight


@dataclass(slots=True)
class Explanation:
    """A decision with its reasons, one sentence each, in the order in which they counted."""

    decision: Decision
    reasons: list[str] = field(default_factory=list)
