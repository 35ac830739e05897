"""What becomes of a request: pure, in microseconds, and with reasons when asked.

A plane carries it out in three steps, because two of its inputs take I/O:

    matched = policy.match(head)                        which route, or a refusal
    found = who calls, how often                        the plane asks the verifier and the limiter
    decision = policy.settle(matched, found, now)       forward, upgrade or refuse

`decide` is the three in one for whoever already knows what was found; `explain` is `decide` with its reasons.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from portico.gateway.addresses import TrustedProxies
from portico.gateway.cors import Cors
from portico.gateway.decisions import (
    Caller,
    Decision,
    Explanation,
    Forward,
    Matched,
    Own,
    PolicyInputs,
    Preflight,
    Refuse,
    Upgrade,
)
from portico.gateway.explain import reasons
from portico.gateway.rates import Rate
from portico.gateway.request_head import Fields, RequestHead, check_host, read_path
from portico.gateway.routes import WEBSOCKET, Route, RouteTable
from portico.kit.auth.tokens import LEEWAY
from portico.kit.foundation.problems import (
    ContentTooLarge,
    InvalidCredentials,
    MethodNotAllowed,
    NotFound,
    Problem,
    TooManyRequests,
    Unauthorized,
)
from portico.kit.http.authentication import CallerUnknown

DEFAULT_RATE = "default"
READS = frozenset(("GET", "HEAD"))
TICKET_IN_QUERY = re.compile(rb"(?:^|&)ticket=[^&]")


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds where a route says nothing else.

    Args:
        rates: By name; `default` is there.
        timeout: Seconds until an answer must have begun.
        body_limit: Bytes a request's body may have.
    """

    rates: Mapping[str, Rate] = field(default_factory=lambda: {DEFAULT_RATE: Rate(DEFAULT_RATE, 100, 60)})
    timeout: float = 30.0
    body_limit: int = 1 << 20


class Policy:
    """Decides. Holds no state that changes.

    Raises ValueError for a route whose rate has no definition, so that a misspelt name is found at the start.
    """

    def __init__(
        self,
        table: RouteTable,
        *,
        limits: Limits | None = None,
        cors: Cors | None = None,
        proxies: TrustedProxies | None = None,
        own: Mapping[str, str] | None = None,
    ) -> None:
        self.table = table
        self.limits = limits or Limits()
        self.cors = cors or Cors(())
        self.proxies = proxies or TrustedProxies()
        self.own = own or {}
        self._rates = {route: self._rate(route) for route in table.routes}

    def decide(self, head: RequestHead, now: float, found: PolicyInputs | None = None) -> Decision:
        """What becomes of a request.

        Args:
            head: The request.
            now: Seconds since the epoch.
            found: Who calls and how often; without it the request is nobody's and within its rate.
        """
        matched = self.match(head)
        return self.settle(matched, found or PolicyInputs(), now) if isinstance(matched, Matched) else matched

    def match(self, head: RequestHead) -> Matched | Refuse | Own | Preflight:
        """Read the head strictly and find its route."""
        try:
            return self._match(head)
        except Problem as problem:
            return Refuse(problem)

    def settle(self, matched: Matched, found: PolicyInputs, now: float) -> Forward | Upgrade | Refuse:
        """Forward what the caller may do, within its rate."""
        route = matched.route
        problem = self._problem(matched, found, now)
        if problem is not None:
            return Refuse(problem, route, found.verdict)
        kind = Upgrade if route.method == WEBSOCKET else Forward
        return kind(
            route=route,
            fields=matched.fields,
            client=matched.client,
            caller=found.caller,
            verdict=found.verdict,
            timeout=route.timeout or self.limits.timeout,
            body_limit=self._body_limit(route),
            repeatable=route.method in READS and not matched.fields.has_body,
        )

    def explain(self, head: RequestHead, now: float, found: PolicyInputs | None = None) -> Explanation:
        """The same decision with its reasons; nothing is consumed."""
        found = found or PolicyInputs()
        matched = self.match(head)
        decision = self.settle(matched, found, now) if isinstance(matched, Matched) else matched
        return Explanation(decision, [*self._kept_back(head, matched), *reasons(matched, decision, found)])

    def _match(self, head: RequestHead) -> Matched | Refuse | Own | Preflight:
        fields = Fields(head.headers)
        check_host(fields, head.http_version)
        path = read_path(head)
        if head.method == "OPTIONS" and b"access-control-request-method" in fields.read:
            return self._preflight(path, fields)
        if (own := self.own.get(path)) is not None:
            return Own(own) if head.method in READS else Refuse(MethodNotAllowed(allowed="GET, HEAD"))
        route = self.table.find(head.method, path)
        if not isinstance(route, Route):
            return Refuse(MethodNotAllowed(allowed=", ".join(route)) if route else NotFound())
        return Matched(
            route=route,
            fields=fields,
            token=_bearer(fields.get(b"authorization")),
            ticket=route.streams and TICKET_IN_QUERY.search(head.query) is not None,
            client=self.proxies.client(head.peer, fields.get(b"x-forwarded-for")),
            rate=self._rates[route],
        )

    def _kept_back(self, head: RequestHead, matched: Matched | Decision) -> list[str]:
        """What a caller is not told: that there is something here, for others."""
        if not isinstance(matched, Refuse) or not isinstance(matched.problem, NotFound | MethodNotAllowed):
            return []
        route = self.table.kept_back(head.method, read_path(head))
        if route is None:
            return []
        return [f"{route.method} {route.path} of {route.service} is for services only: the gateway does not route it."]

    def _preflight(self, path: str, fields: Fields) -> Preflight | Refuse:
        methods = ("GET", "HEAD") if path in self.own else self.table.methods(path)
        return Preflight(self.cors.preflight(fields, methods)) if methods else Refuse(NotFound())

    def _problem(self, matched: Matched, found: PolicyInputs, now: float) -> Problem | None:
        """Why not, if not. The rate comes first: guessing tokens counts too."""
        verdict = found.verdict
        if verdict is not None and not verdict.allowed:
            return TooManyRequests(retry_after=ceil(verdict.retry_after))
        length = matched.fields.content_length
        if length is not None and length > (limit := self._body_limit(matched.route)):
            return ContentTooLarge(limit=limit)
        return _caller_problem(matched.route, found.caller, now)

    def _body_limit(self, route: Route) -> int:
        return self.limits.body_limit if route.body_limit is None else route.body_limit

    def _rate(self, route: Route) -> Rate:
        rate = self.limits.rates.get(route.rate or DEFAULT_RATE)
        if rate is None:
            raise ValueError(f"{route.method} {route.path} has the rate {route.rate!r}, which nothing defines")
        return rate


def _bearer(authorization: bytes | None) -> str | None:
    """The token of RFC 6750 section 2.1; the scheme's name in any case."""
    if authorization is None or authorization[:7].lower() != b"bearer ":
        return None
    return authorization[7:].strip().decode("latin-1") or None


def _caller_problem(route: Route, caller: Caller, now: float) -> Problem | None:
    """What stands between the caller and a route that needs one. A service verifies again for itself."""
    if not route.access.needs_caller or caller.state == "ticket":
        return None
    try:
        _admit(route, caller, now)
    except Problem as problem:
        return problem
    return None


def _admit(route: Route, caller: Caller, now: float) -> None:
    """Raises CallerUnknown, InvalidCredentials, Unauthorized and what the route's access refuses."""
    if caller.state == "unverifiable":
        raise CallerUnknown(retry_after=ceil(caller.retry_after))
    if caller.state == "invalid":
        raise InvalidCredentials(reason=caller.reason)
    if caller.principal is None:
        raise Unauthorized
    if caller.principal.expires_at.timestamp() + LEEWAY <= now:
        raise InvalidCredentials(reason="expired")
    route.access.admit(caller.principal)
