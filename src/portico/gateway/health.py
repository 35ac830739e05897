"""How the services behind the gateway are: asked side by side, and remembered for a second."""

import asyncio
import contextvars
from collections.abc import Mapping

from portico.gateway.upstreams.base import Sending, Upstream
from portico.kit.calls.errors import CallFailed
from portico.kit.foundation.clock import Clock

LIMIT = 2.0
KEPT = 1.0
OK = 200


class ServiceDown(Exception):
    """A service did not say in time that it is ready."""


class Services:
    """Asks the services whether they are ready.

    Args:
        upstreams: The services by name.
        clock: Tells how old an answer is.
    """

    def __init__(self, upstreams: Mapping[str, Upstream], clock: Clock) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._known: dict[str, bool] = {}
        self._asked = float("-inf")
        self._asking: asyncio.Task[dict[str, bool]] | None = None

    async def states(self) -> dict[str, bool]:
        """Which services are ready: a second old at most. Whoever asks meanwhile shares the answer."""
        if self._clock.monotonic() - self._asked < KEPT:
            return self._known
        if self._asking is None:
            # In a context of its own: the answer serves others too.
            self._asking = asyncio.create_task(
                self._ask(), name="health of the services", context=contextvars.Context()
            )
        # One who gives up does not take the answer from the others.
        return await asyncio.shield(self._asking)

    async def probe(self, service: str) -> None:
        """Raise unless the service is ready."""
        if not await self._is_ready(service):
            raise ServiceDown(service)

    async def aclose(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self) -> dict[str, bool]:
        try:
            answers = await asyncio.gather(*(self._is_ready(name) for name in self._upstreams))
            self._known = dict(zip(self._upstreams, answers, strict=True))
            self._asked = self._clock.monotonic()
            return self._known
        finally:
            self._asking = None

    async def _is_ready(self, service: str) -> bool:
        request = Sending("GET", b"/health/ready", b"", [(b"accept", b"application/json")], LIMIT)
        try:
            async with asyncio.timeout(LIMIT):
                answer = await self._upstreams[service].send(request, set())
                try:
                    async for _ in answer.chunks():
                        pass
                finally:
                    await answer.aclose()
        except (CallFailed, TimeoutError):
            return False
        return answer.status == OK
