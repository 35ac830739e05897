"""What a decision needs that takes I/O: who calls, and how often."""

from portico.gateway.decisions import NOBODY, TICKET, Caller, Matched, PolicyInputs
from portico.gateway.limits import Limiter
from portico.kit.auth.tokens import InvalidToken
from portico.kit.auth.verification import TokenVerifier, VerificationUnavailable


class InputResolver:
    """Asks the verifier and the limiter.

    Args:
        verifier: Tells who bears a token.
        limiter: Counts requests.
    """

    def __init__(self, verifier: TokenVerifier, limiter: Limiter) -> None:
        self._verifier = verifier
        self._limiter = limiter

    async def find(self, matched: Matched) -> PolicyInputs:
        caller = await find_caller(matched, self._verifier)
        return PolicyInputs(caller, await self._limiter.take(matched.rate, matched.rate_limit_key(caller)))


async def find_caller(matched: Matched, verifier: TokenVerifier) -> Caller:
    """Who bears the token of a request, where it carries one."""
    if matched.token is None:
        return TICKET if matched.ticket else NOBODY
    try:
        return Caller("known", await verifier.verify(matched.token))
    except InvalidToken as error:
        return Caller("invalid", reason=error.reason)
    except VerificationUnavailable as error:
        return Caller("unverifiable", retry_after=error.retry_after)
