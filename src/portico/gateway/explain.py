"""Reasons for a decision, as sentences for `portico explain`."""

from collections.abc import Iterator

from portico.gateway.decisions import (
    Caller,
    Decision,
    Forward,
    MatchedRequest,
    OwnPage,
    PolicyInputs,
    Preflight,
    Refuse,
    Upgrade,
)
from portico.gateway.routes import Route

ACCESS = {
    "public": "The route is public: it needs no caller.",
    "optional": "The route serves signed-in and anonymous callers.",
    "known": "The route needs a known caller, a user or a service.",
    "signed_in": "The route needs a signed-in user.",
    "permission": "The route needs a caller with the permission '{permission}'.",
}


def reasons(matched: MatchedRequest | Decision, decision: Decision, inputs: PolicyInputs) -> list[str]:
    """Return the reasons for `decision`, in the order in which they were checked."""
    if not isinstance(matched, MatchedRequest):
        return [_without_route(matched)]
    return [*_route(matched.route), *_rate(matched, inputs), _caller(matched, inputs.caller), _result(decision)]


def _without_route(decision: Decision) -> str:
    match decision:
        case Preflight(headers):
            is_allowed = any(name == b"access-control-allow-origin" for name, _ in headers)
            return "This is a CORS preflight from an origin that is " + ("allowed." if is_allowed else "not allowed.")
        case _:
            return _result(decision)


def _route(route: Route) -> Iterator[str]:
    yield f"{route.method} {route.path} is a route of {route.service}."
    yield ACCESS[route.access.kind].format(permission=route.access.permission)


def _rate(matched: MatchedRequest, inputs: PolicyInputs) -> Iterator[str]:
    rate, verdict, key = matched.rate, inputs.verdict, matched.rate_limit_key(inputs.caller)
    yield f"The rate limit '{rate.name}' allows {rate.requests} requests in {rate.seconds} s, counted for {key}."
    if verdict is not None:
        yield f"{verdict.remaining} more requests are allowed." if verdict.allowed else "The rate limit is exceeded."


def _caller(matched: MatchedRequest, caller: Caller) -> str:
    if caller.principal is not None:
        permissions = " ".join(sorted(caller.principal.permissions)) or "no permissions"
        return f"The caller is {caller.principal.subject} with {permissions}."
    return {
        "anonymous": "The caller is anonymous." if matched.token is None else "The token was not verified.",
        "invalid": f"The token is not valid: {caller.reason}.",
        "unverifiable": "The token cannot be verified at the moment.",
        "ticket": f"The request has a one-time ticket, which only {matched.route.service} can redeem.",
    }.get(caller.state, "")


def _result(decision: Decision) -> str:
    match decision:
        case Refuse(problem):
            return f"Refused with {problem.status} {problem.code}: {problem.sentence()}"
        case Upgrade(route):
            return f"Forwarded to {route.service} as a WebSocket."
        case Forward(route):
            retries = "another instance is tried if one fails" if decision.is_repeatable else "it is sent only once"
            return f"Forwarded to {route.service}, with {decision.timeout:g} s to begin the response; {retries}."
        case OwnPage(name):
            return f"The gateway responds with its own page {name}."
        case _:
            return ""
