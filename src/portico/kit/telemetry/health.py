"""Health checks: alive, ready for traffic, and the state of each dependency."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from portico.kit.telemetry.logs import get_logger
from portico.kit.telemetry.process_stats import LoopLag, process_stats

Probe = Callable[[], Awaitable[object]]
TIMEOUT = 2.0
"""Default time (seconds) that a dependency has to respond."""
_REUSE_FOR = 1.0  # seconds that a result is reused, so that public health pages do not load the database
_ALIVE_SHARE = 0.25  # share of the time-out that `alive` waits for the state of another service

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Result of a probe.

    Args:
        status: `unknown` if the dependency has not responded yet.
        latency: seconds until it responded.
        error: short reason why it is down, without internals.
    """

    status: Literal["up", "down", "unknown"]
    latency: float = 0.0
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        to_dict: dict[str, Any] = {"status": self.status, "latency_ms": round(self.latency * 1000, 2)}
        return to_dict if self.error is None else to_dict | {"error": self.error}


class _Dependency:
    """A dependency with its probe. Concurrent callers share one probe."""

    def __init__(
        self, name: str, probe: Probe, *, critical: bool, address: str | None, timeout: float, now: Callable[[], float]
    ) -> None:
        self.name = name
        self.critical = critical
        self.address = address
        self._probe = probe
        self._timeout = timeout
        self._now = now
        self._answer = ProbeResult("unknown")
        self._probed_at = float("-inf")
        self._probing: asyncio.Task[ProbeResult] | None = None

    async def state(self, within: float | None = None) -> ProbeResult:
        """Return the state, at most a second old, or `unknown` if the probe takes longer than `within` (seconds)."""
        if self._probing is None:
            if self._now() - self._probed_at < _REUSE_FOR:
                return self._answer
            self._probing = asyncio.create_task(self._run_probe(), name=f"health of {self.name}")
        probing = self._probing
        # `wait` instead of `await`: a caller that gives up does not cancel the probe for the others.
        await asyncio.wait({probing}, timeout=within or self._timeout + 1)
        if not probing.done() or probing.cancelled():
            return ProbeResult("unknown", error="no response yet")
        return probing.result()

    async def _run_probe(self) -> ProbeResult:
        before = self._now()
        try:
            async with asyncio.timeout(self._timeout):
                await self._probe()
            answer = ProbeResult("up", self._now() - before)
        except Exception as error:
            answer = ProbeResult("down", self._now() - before, _error_name(error))
            if self._answer.status != "down":
                logger.warning("dependency_down", dependency=self.name, exc_info=error)
        self._answer, self._probed_at, self._probing = answer, self._now(), None
        return answer

    async def aclose(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait({self._probing})


def _error_name(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return type(error).__name__


class Health:
    """Health of a service, as plain data in snake case.

    Args:
        service: name of the service in the system.
        version: version of the running code.
        timeout: how long (seconds) a dependency has to respond.
        loop_lag: measures the process; shared by its services.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        service: str,
        version: str,
        *,
        timeout: float = TIMEOUT,
        loop_lag: LoopLag | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity = {"service": service, "version": version}
        self._timeout = timeout
        self._now = now
        self._started = now()
        self._own: list[_Dependency] = []
        self._called_services: list[_Dependency] = []
        self.loop_lag = loop_lag or LoopLag()
        self.stopping = False
        """Set by the host when it begins to stop: not ready any more, but alive."""

    def add(self, name: str, probe: Probe, *, critical: bool = True) -> None:
        """Add a dependency of the service's own: its database or cache.

        Args:
            name: name in the health document.
            probe: raises if the dependency does not work. It is limited to `timeout` seconds.
            critical: whether the service cannot serve without it, so that it is not ready.
        """
        self._own.append(self._dependency(name, probe, critical=critical))

    def add_called_service(self, name: str, address: str, probe: Probe) -> None:
        """Add another service, which `alive` shows with its address. Its failure never makes this service unready."""
        self._called_services.append(self._dependency(name, probe, critical=False, address=address))

    def _dependency(self, name: str, probe: Probe, *, critical: bool, address: str | None = None) -> _Dependency:
        return _Dependency(name, probe, critical=critical, address=address, timeout=self._timeout, now=self._now)

    async def alive(self) -> dict[str, Any]:
        """Return the body of `GET /health`: the process responds. It contains the state of other services, if any."""
        payload: dict[str, Any] = {"status": "healthy", **self._identity}
        if self._called_services:
            answers = await asyncio.gather(
                *(each.state(self._timeout * _ALIVE_SHARE) for each in self._called_services)
            )
            payload["dependencies"] = {
                each.name: {"address": each.address, "status": answer.status}
                for each, answer in zip(self._called_services, answers, strict=True)
            }
        return payload

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the service can receive traffic, and the body of `GET /health/ready`."""
        critical = [each for each in self._own if each.critical]
        answers = await asyncio.gather(*(each.state() for each in critical))
        failing = [each.name for each, answer in zip(critical, answers, strict=True) if answer.status != "up"]
        if self.stopping:
            return False, {"status": "stopping", **self._identity}
        if failing:
            return False, {"status": "not_ready", **self._identity, "failing": failing}
        return True, {"status": "ready", **self._identity}

    async def detailed(self) -> dict[str, Any]:
        """Return the body of `GET /health/detailed`: each dependency, and the process itself."""
        everything = [*self._own, *self._called_services]
        answers, stats = await asyncio.gather(
            asyncio.gather(*(each.state() for each in everything)), asyncio.to_thread(process_stats)
        )
        pairs = list(zip(everything, answers, strict=True))
        return {
            "status": _overall(pairs),
            **self._identity,
            "uptime_seconds": round(self._now() - self._started, 1),
            "dependencies": {each.name: _detail(each, answer) for each, answer in pairs},
            "process": stats | {"event_loop_lag_ms": round(self.loop_lag.seconds * 1000, 2)},
        }

    async def aclose(self) -> None:
        """Cancel probes in progress."""
        for each in (*self._own, *self._called_services):
            await each.aclose()


def _overall(pairs: list[tuple[_Dependency, ProbeResult]]) -> str:
    if any(each.critical and answer.status != "up" for each, answer in pairs):
        return "unhealthy"
    return "healthy" if all(answer.status == "up" for _, answer in pairs) else "degraded"


def _detail(dependency: _Dependency, answer: ProbeResult) -> dict[str, Any]:
    detail = {"critical": dependency.critical} | answer.to_dict()
    return detail if dependency.address is None else {"address": dependency.address} | detail
