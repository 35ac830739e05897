from typing import Protocol

from portico.gateway.rates import Rate, Verdict


class Limiter(Protocol):
    """Counts requests against rates, each caller for itself."""

    async def take(self, rate: Rate, key: str) -> Verdict:
        """Count one request of `key`, if it is within the rate. A refused one is not counted."""

    async def aclose(self) -> None:
        """Let go of what is held."""
