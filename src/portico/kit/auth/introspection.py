"""Verification of access tokens by introspection at identity."""

import asyncio
import contextvars
import dataclasses
from typing import Final

from portico.kit.auth.principal import Principal
from portico.kit.auth.tokens import InvalidToken, TokenFormat, UnverifiedToken
from portico.kit.auth.verification import MAX_TOKENS, LruCache, Validation, ValidationSource, fingerprint
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.probe_limiter import ProbeLimiter


class IntrospectionVerifier:
    """Verifies tokens by introspection at identity. A result is cached for at most a second.

    A revoked token is rejected within a second. While identity is unavailable, no caller can be verified.

    Args:
        source: identity.
        form: issuer and audience of the tokens.
        clock: the current time.
        max_tokens: maximum number of cached results.
    """

    CACHE_SECONDS: Final = 1.0
    """Seconds that a result is cached."""

    def __init__(
        self, source: ValidationSource, form: TokenFormat, clock: Clock, *, max_tokens: int = MAX_TOKENS
    ) -> None:
        self._source = source
        self._form = form
        self._clock = clock
        self._results: LruCache[tuple[float, Validation]] = LruCache(max_tokens)
        self._introspections: dict[bytes, asyncio.Task[Validation]] = {}
        self._probe_limiter = ProbeLimiter(clock.monotonic)

    async def verify(self, token: str) -> Principal:
        """Return the bearer of `token`. Raises InvalidToken, VerificationUnavailable."""
        parts = UnverifiedToken.parse(token)
        answer = await self._validation(token)
        if not answer.valid:
            raise InvalidToken(answer.reason or "malformed", "identity rejected the token")
        # Identity has checked the signature. Every verifier checks issuer, audience and expiry itself.
        claims = self._form.claims_of(parts.trusted_payload(), self._clock.now())
        return dataclasses.replace(
            claims.principal(answer.email), roles=answer.roles, permissions=frozenset(answer.permissions)
        )

    changes: int = 0

    def recall(self, fingerprint: bytes, token: str | None = None) -> None:
        """Return None: a cached result does not include the claims that each verification checks."""

    async def redeem_ticket(self, ticket: str) -> str:
        """Exchange a one-time ticket for its token. Raises InvalidToken, VerificationUnavailable."""
        return await self._source.redeem_ticket(ticket)

    async def run(self) -> None:
        """Return at once: there is no data to keep up to date."""

    async def _validation(self, token: str) -> Validation:
        key = fingerprint(token)
        known = self._results.get(key)
        if known is not None and self._clock.monotonic() < known[0]:
            return known[1]
        introspection = self._introspections.get(key)
        if introspection is None:
            # An empty context: the result serves other callers too.
            introspection = asyncio.create_task(
                self._introspect(key, token), name="ask identity", context=contextvars.Context()
            )
            self._introspections[key] = introspection
        # Shielded: cancelling one caller must not cancel the introspection for the others.
        return await asyncio.shield(introspection)

    async def _introspect(self, key: bytes, token: str) -> Validation:
        started_at = self._clock.monotonic()
        try:
            answer = await self._source.validate(token, probe=self._probe_limiter.may_probe())
            self._results.put(key, (started_at + self.CACHE_SECONDS, answer))
            return answer
        finally:
            del self._introspections[key]
