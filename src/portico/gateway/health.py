"""Readiness of the services behind the gateway: checked concurrently and cached for one second."""

import asyncio
import contextvars
from collections.abc import Mapping

from portico.gateway.upstreams.base import Upstream, UpstreamRequest
from portico.kit.calls.errors import CallFailed
from portico.kit.foundation.clock import Clock

CACHE_SECONDS = 1.0
OK = 200


class ServiceDown(Exception):
    """A service did not report in time that it is ready."""


class ServiceHealth:
    """Checks whether the services are ready.

    Args:
        upstreams: The services by name.
        clock: Determines the age of cached results.
        timeout: How long (seconds) a service may take to respond.
    """

    def __init__(self, upstreams: Mapping[str, Upstream], clock: Clock, *, timeout: float) -> None:
        self._upstreams = upstreams
        self._timeout = timeout
        self._clock = clock
        self._states_paths: dict[str, bool] = {}
        self._checked_at = float("-inf")
        self._check: asyncio.Task[dict[str, bool]] | None = None

    async def states(self) -> dict[str, bool]:
        """Return which services are ready, at most one second old. Concurrent callers share one check."""
        if self._clock.monotonic() - self._checked_at < CACHE_SECONDS:
            return self._states_paths
        if self._check is None:
            # The check has its own context, because several requests share its result.
            self._check = asyncio.create_task(
                self._check_all(), name="health of the services", context=contextvars.Context()
            )
        # A cancelled caller must not cancel the check for other callers.
        return await asyncio.shield(self._check)

    async def probe(self, service: str) -> None:
        """Raise unless the service is ready."""
        if not await self._is_ready(service):
            raise ServiceDown(service)

    async def aclose(self) -> None:
        """Cancel a running check."""
        if self._check is not None:
            self._check.cancel()
            await asyncio.wait([self._check])

    async def _check_all(self) -> dict[str, bool]:
        try:
            states = await asyncio.gather(*(self._is_ready(name) for name in self._upstreams))
            self._states_paths = dict(zip(self._upstreams, states, strict=True))
            self._checked_at = self._clock.monotonic()
            return self._states_paths
        finally:
            self._check = None

    async def _is_ready(self, service: str) -> bool:
        request = UpstreamRequest("GET", b"/health/ready", b"", [(b"accept", b"application/json")], self._timeout)
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._upstreams[service].send(request, set())
                try:
                    async for _ in response.chunks():
                        pass
                finally:
                    await response.aclose()
        except (CallFailed, TimeoutError):
            return False
        return response.status == OK
