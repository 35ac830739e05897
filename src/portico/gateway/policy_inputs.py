"""Resolution of the policy's inputs that need I/O: the caller and the rate limit's verdict."""

from portico.gateway.decisions import ANONYMOUS, TICKET, Caller, MatchedRequest, PolicyInputs
from portico.gateway.limits import Limiter
from portico.kit.auth.tokens import InvalidToken
from portico.kit.auth.verification import TokenVerifier, VerificationUnavailable


class InputResolver:
    """Resolver of the inputs of a decision.

    Args:
        verifier: Verifies access tokens.
        limiter: Counts requests.
    """

    def __init__(self, verifier: TokenVerifier, limiter: Limiter) -> None:
        self.verifier = verifier
        self.limiter = limiter

    async def resolve(self, matched: MatchedRequest) -> PolicyInputs:
        """Verify the caller and count the request."""
        caller = await resolve_caller(matched, self.verifier)
        return PolicyInputs(caller, await self.limiter.take(matched.rate, matched.rate_limit_key(caller)))


async def resolve_caller(matched: MatchedRequest, verifier: TokenVerifier) -> Caller:
    """Return the caller that the request's token identifies."""
    if matched.token is None:
        return TICKET if matched.ticket else ANONYMOUS
    try:
        return Caller("known", await verifier.verify(matched.token))
    except InvalidToken as error:
        return Caller("invalid", reason=error.reason)
    except VerificationUnavailable as error:
        return Caller("unverifiable", retry_after=error.retry_after)
