"""Policy of the gateway: decides about a request without I/O, and explains the decision.

The proxy calls it in two steps, because two of the inputs need I/O:

    matched = policy.match(head)                        find the route, or refuse
    inputs = await resolver.resolve(matched)            verify the caller, check the rate limit
    decision = policy.settle(matched, inputs, now)      forward, upgrade or refuse

`decide` does both steps with given inputs. `explain` returns the same decision with its reasons.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from portico.gateway.client_address import ClientNetworks, TrustedProxies
from portico.gateway.cors import Cors
from portico.gateway.decisions import (
    Caller,
    Decision,
    Explanation,
    Forward,
    MatchedRequest,
    OwnPage,
    PolicyInputs,
    Preflight,
    Refuse,
    Upgrade,
)
from portico.gateway.explain import reasons
from portico.gateway.limits import Rate
from portico.gateway.request_head import Fields, RequestHead, check_host, read_path
from portico.gateway.routes import WEBSOCKET, Route, RouteTable
from portico.kit.auth.access import Access
from portico.kit.auth.tokens import LEEWAY
from portico.kit.foundation.problems import (
    ContentTooLarge,
    InvalidCredentials,
    MethodNotAllowed,
    NotFound,
    Problem,
    TooManyRequests,
    Unauthorized,
    UnsupportedContentEncoding,
    check_content_encoding,
)
from portico.kit.http.authentication import CallerUnknown

GATEWAY = "gateway"
DEFAULT_RATE = "default"
GATEWAY_PERMISSION = "gateway:read"
OPERATORS = Access("permission", GATEWAY_PERMISSION)
READS = frozenset(("GET", "HEAD"))
TICKET_IN_QUERY = re.compile(rb"(?:^|&)ticket=[^&]")


@dataclass(frozen=True, slots=True)
class RouteDefaults:
    """Default limits of routes.

    Args:
        rates: All rates by name, including `default`.
        timeout: Seconds until a response must have begun.
        body_limit: Maximum size of a request body in bytes.
    """

    rates: Mapping[str, Rate] = field(default_factory=lambda: {DEFAULT_RATE: Rate(DEFAULT_RATE, 100, 60)})
    timeout: float = 30.0
    body_limit: int = 1 << 20


@dataclass(frozen=True, slots=True)
class OperatorPages:
    """The gateway's own pages that are for operators only.

    Args:
        paths: Their paths.
        networks: Networks whose clients may read the pages. Others need the permission `gateway:read`.
    """

    paths: frozenset[str]
    networks: ClientNetworks


class Policy:
    """The decision rules of one system. Immutable.

    Args:
        table: The routes of the services.
        defaults: Limits of routes that declare none.
        cors: The allowed origins.
        proxies: Proxies whose forwarding headers are trusted.
        own: The paths of the gateway's own pages, with their names.
        operator_pages: Which of them are for operators only; None if none is.

    Raises:
        ValueError: a route uses a rate that is not defined.
    """

    def __init__(
        self,
        table: RouteTable,
        *,
        defaults: RouteDefaults | None = None,
        cors: Cors | None = None,
        proxies: TrustedProxies | None = None,
        own: Mapping[str, str] | None = None,
        operator_pages: OperatorPages | None = None,
    ) -> None:
        self.table = table
        self.defaults = defaults or RouteDefaults()
        self.cors = cors or Cors(())
        self.proxies = proxies or TrustedProxies()
        self.own = own or {}
        self._operators = operator_pages.networks if operator_pages is not None else ClientNetworks(())
        paths = operator_pages.paths if operator_pages is not None else ()
        self._operator_routes = {path: Route(GATEWAY, "GET", path, OPERATORS) for path in paths}
        self._rates = {route: self._rate(route) for route in (*table.routes, *self._operator_routes.values())}

    def decide(self, head: RequestHead, now: float, inputs: PolicyInputs | None = None) -> Decision:
        """Decide about a request.

        Args:
            head: The request.
            now: Seconds since the epoch.
            inputs: The caller and the rate limit's verdict; None means anonymous and within the rate.
        """
        matched = self.match(head)
        return self.settle(matched, inputs or PolicyInputs(), now) if isinstance(matched, MatchedRequest) else matched

    def match(self, head: RequestHead) -> MatchedRequest | Refuse | OwnPage | Preflight:
        """Validate the head strictly and find its route.

        For a route of a service, header fields and path are checked separately. The memos of the fast plane depend on
        this.
        """
        try:
            return self._match(head)
        except Problem as problem:
            return Refuse(problem)

    def settle(self, matched: MatchedRequest, inputs: PolicyInputs, now: float) -> Forward | Upgrade | OwnPage | Refuse:
        """Return the decision: forward the request or respond with a page if the caller and the rate allow it."""
        route = matched.route
        problem = self._problem(matched, inputs, now)
        if problem is not None:
            return Refuse(problem, route, inputs.verdict)
        if matched.page is not None:
            return OwnPage(matched.page)
        kind = Upgrade if route.method == WEBSOCKET else Forward
        return kind(
            route=route,
            fields=matched.fields,
            client=matched.client,
            caller=inputs.caller,
            verdict=inputs.verdict,
            timeout=route.timeout or self.defaults.timeout,
            body_limit=self._body_limit(route),
            is_repeatable=route.method in READS and not matched.fields.has_body,
        )

    def explain(self, head: RequestHead, now: float, inputs: PolicyInputs | None = None) -> Explanation:
        """Return the same decision with its reasons. The request is not counted against its rate."""
        inputs = inputs or PolicyInputs()
        matched = self.match(head)
        decision = self.settle(matched, inputs, now) if isinstance(matched, MatchedRequest) else matched
        return Explanation(decision, [*self._service_only_reason(head, matched), *reasons(matched, decision, inputs)])

    def rate_of(self, route: Route) -> Rate:
        """Return the rate of one of the routes."""
        return self._rates[route]

    def _match(self, head: RequestHead) -> MatchedRequest | Refuse | OwnPage | Preflight:
        fields = Fields(head.headers)
        check_host(fields, head.http_version)
        path = read_path(head)
        if head.method == "OPTIONS" and b"access-control-request-method" in fields.read:
            return self._preflight(path, fields)
        if (own := self.own.get(path)) is not None:
            if head.method not in READS:
                raise MethodNotAllowed(allowed="GET, HEAD")
            _check_content_encoding(fields)
            return self._own(own, head, fields, path)
        route = self.table.find(head.method, path)
        if not isinstance(route, Route):
            return self._refuse_method(path, route) if route else Refuse(NotFound())
        try:
            _check_content_encoding(fields)
        except UnsupportedContentEncoding as problem:
            return Refuse(problem, route)
        return self._matched(route, head, fields)

    def _refuse_method(self, path: str, allowed: tuple[str, ...]) -> Refuse:
        """Refuse the method, in the error format of the other methods of the path."""
        route = self.table.find(allowed[0], path)
        return Refuse(MethodNotAllowed(allowed=", ".join(allowed)), route if isinstance(route, Route) else None)

    def _matched(self, route: Route, head: RequestHead, fields: Fields, *, page: str | None = None) -> MatchedRequest:
        return MatchedRequest(
            route=route,
            fields=fields,
            token=_bearer(fields.get(b"authorization")),
            ticket=route.streams and TICKET_IN_QUERY.search(head.query) is not None,
            client=self.proxies.client(head.peer, fields.get(b"x-forwarded-for")),
            rate=self._rates[route],
            page=page,
        )

    def _own(self, name: str, head: RequestHead, fields: Fields, path: str) -> OwnPage | MatchedRequest:
        """Serve an own page. An operator page needs a caller, unless the client is in one of the operator networks."""
        route = self._operator_routes.get(path)
        if route is None:
            return OwnPage(name)
        matched = self._matched(route, head, fields, page=name)
        is_local = self._operators.include(matched.client) and not self.proxies.is_forwarded(head.peer, fields)
        return OwnPage(name) if is_local else matched

    def _service_only_reason(self, head: RequestHead, matched: MatchedRequest | Decision) -> list[str]:
        """Explain a 404 or 405 for a route that only services may call. Callers do not learn that it exists."""
        if not isinstance(matched, Refuse) or not isinstance(matched.problem, NotFound | MethodNotAllowed):
            return []
        route = self.table.service_only_route(head.method, read_path(head))
        if route is None:
            return []
        return [f"{route.method} {route.path} of {route.service} is for services only. The gateway does not route it."]

    def _preflight(self, path: str, fields: Fields) -> Preflight | Refuse:
        methods = ("GET", "HEAD") if path in self.own else self.table.methods(path)
        if not methods:
            return Refuse(NotFound())
        requested = (fields.get(b"access-control-request-method") or b"").decode("latin-1")
        route = self.table.find(requested, path)
        any_origin = isinstance(route, Route) and route.any_origin
        return Preflight(self.cors.preflight(fields, methods, any_origin=any_origin))

    def _problem(self, matched: MatchedRequest, inputs: PolicyInputs, now: float) -> Problem | None:
        """Return the reason to refuse, if any. The rate limit is checked first, to limit the guessing of tokens."""
        verdict = inputs.verdict
        if verdict is not None and not verdict.allowed:
            return TooManyRequests(retry_after=ceil(verdict.retry_after))
        length = matched.fields.content_length
        if length is not None and length > (limit := self._body_limit(matched.route)):
            return ContentTooLarge(limit=limit)
        return _caller_problem(matched.route, inputs.caller, now)

    def _body_limit(self, route: Route) -> int:
        return self.defaults.body_limit if route.body_limit is None else route.body_limit

    def _rate(self, route: Route) -> Rate:
        rate = self.defaults.rates.get(route.rate or DEFAULT_RATE)
        if rate is None:
            raise ValueError(f"{route.method} {route.path} uses the rate {route.rate!r}, which is not defined")
        return rate


def _check_content_encoding(fields: Fields) -> None:
    encoding = fields.get(b"content-encoding")
    if encoding is not None and fields.has_body:
        check_content_encoding(encoding.decode("latin-1"))


def _bearer(authorization: bytes | None) -> str | None:
    """Return the bearer token (RFC 6750 section 2.1). The scheme is case-insensitive."""
    if authorization is None or authorization[:7].lower() != b"bearer ":
        return None
    return authorization[7:].strip().decode("latin-1") or None


def _caller_problem(route: Route, caller: Caller, now: float) -> Problem | None:
    """Return the reason to refuse this caller, if any. Each service verifies the caller again."""
    if not route.access.needs_caller or caller.state == "ticket":
        return None
    try:
        _admit(route, caller, now)
    except Problem as problem:
        return problem
    return None


def _admit(route: Route, caller: Caller, now: float) -> None:
    """Check that the route accepts the caller. Raises CallerUnknown, InvalidCredentials, Unauthorized, Forbidden."""
    if caller.state == "unverifiable":
        raise CallerUnknown(retry_after=ceil(caller.retry_after))
    if caller.state == "invalid":
        raise InvalidCredentials(reason=caller.reason)
    if caller.principal is None:
        raise Unauthorized
    if caller.principal.expires_at.timestamp() + LEEWAY <= now:
        raise InvalidCredentials(reason="expired")
    route.access.check(caller.principal)
