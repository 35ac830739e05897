"""The reasons of a decision, as sentences for a person."""

from collections.abc import Iterator

from portico.gateway.decisions import Caller, Decision, Forward, Matched, Own, PolicyInputs, Preflight, Refuse, Upgrade
from portico.gateway.routes import Route

NEEDED = {
    "public": "It is public: no caller is needed.",
    "optional": "It serves a signed-in caller and anybody else.",
    "known": "It needs a known caller, a user or a service.",
    "signed_in": "It needs a signed-in user.",
    "permission": "It needs a caller with the permission '{permission}'.",
}


def reasons(matched: Matched | Decision, decision: Decision, found: PolicyInputs) -> list[str]:
    """Why `decision` came of `matched` and `found`, in the order in which things counted."""
    if not isinstance(matched, Matched):
        return [_without_route(matched)]
    return [*_route(matched.route), *_rate(matched, found), _caller(matched, found.caller), _end(decision)]


def _without_route(decision: Decision) -> str:
    match decision:
        case Own(name):
            return f"The gateway answers this itself: {name}."
        case Preflight(headers):
            allowed = any(name == b"access-control-allow-origin" for name, _ in headers)
            return "A CORS preflight from an origin that is " + ("allowed." if allowed else "not allowed.")
        case _:
            return _end(decision)


def _route(route: Route) -> Iterator[str]:
    yield f"{route.method} {route.path} is a route of {route.service}."
    yield NEEDED[route.access.kind].format(permission=route.access.permission)


def _rate(matched: Matched, found: PolicyInputs) -> Iterator[str]:
    rate, verdict = matched.rate, found.verdict
    yield f"The rate '{rate.name}' counts it: {rate.requests} in {rate.seconds} s, as {matched.rate_limit_key(found.caller)}."
    if verdict is not None:
        yield f"{verdict.remaining} more are left." if verdict.allowed else "That is used up."


def _caller(matched: Matched, caller: Caller) -> str:
    if caller.principal is not None:
        principal = caller.principal
        return f"The caller is {principal.subject}, who may {' '.join(sorted(principal.permissions)) or 'nothing special'}."
    return {
        "nobody": "Nobody is signed in." if matched.token is None else "The token was not verified.",
        "invalid": f"The token is of no use: {caller.reason}.",
        "unverifiable": "The token could not be verified just now.",
        "ticket": f"It carries a one-time ticket, which only {matched.route.service} can redeem.",
    }.get(caller.state, "")


def _end(decision: Decision) -> str:
    match decision:
        case Refuse(problem):
            return f"Refused with {problem.status} {problem.code}: {problem.sentence()}"
        case Upgrade(route):
            return f"Forwarded to {route.service} as a WebSocket."
        case Forward(route):
            again = ", and to another instance if one fails" if decision.repeatable else ", once"
            return f"Forwarded to {route.service}, which has {decision.timeout:g} s to begin its answer{again}."
        case _:
            return ""
