"""Health in three depths: alive, ready for traffic, and each dependency with its state."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from portico.kit.telemetry.logs import get_logger
from portico.kit.telemetry.vitals import LoopLag, process_vitals

Probe = Callable[[], Awaitable[object]]
TIMEOUT = 2.0
"""Default time (seconds) that a dependency has to respond."""
_KEPT = 1.0  # seconds that an answer serves those who ask again: a public page must not be a way to ask a database
_ALIVE_SHARE = 0.25  # of the time-out, which `alive` waits for the state of a neighbour

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe found.

    Args:
        status: `unknown` where it has not answered yet.
        latency: seconds until it did.
        error: in a word, why it is down; nothing that tells of insides.
    """

    status: Literal["up", "down", "unknown"]
    latency: float = 0.0
    error: str | None = None

    def shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"status": self.status, "latency_ms": round(self.latency * 1000, 2)}
        return shown if self.error is None else shown | {"error": self.error}


class _Dependency:
    """Something that is asked how it is: by all who want to know at once, once."""

    def __init__(
        self, name: str, probe: Probe, *, critical: bool, address: str | None, timeout: float, now: Callable[[], float]
    ) -> None:
        self.name = name
        self.critical = critical
        self.address = address
        self._probe = probe
        self._timeout = timeout
        self._now = now
        self._answer = Answer("unknown")
        self._asked = float("-inf")
        self._asking: asyncio.Task[Answer] | None = None

    async def state(self, patience: float | None = None) -> Answer:
        """Its state, at most a second old, or the last one known where it takes longer than `patience` (seconds)."""
        if self._asking is None:
            if self._now() - self._asked < _KEPT:
                return self._answer
            self._asking = asyncio.create_task(self._ask(), name=f"health of {self.name}")
        asking = self._asking
        # Waited for, not awaited: one who gives up does not take the answer from the others.
        await asyncio.wait({asking}, timeout=patience or self._timeout + 1)
        if not asking.done() or asking.cancelled():
            return Answer("unknown", error="no answer yet")
        return asking.result()

    async def _ask(self) -> Answer:
        before = self._now()
        try:
            async with asyncio.timeout(self._timeout):
                await self._probe()
            answer = Answer("up", self._now() - before)
        except Exception as error:
            answer = Answer("down", self._now() - before, _in_a_word(error))
            if self._answer.status != "down":
                log.warning("dependency_down", dependency=self.name, exc_info=error)
        self._answer, self._asked, self._asking = answer, self._now(), None
        return answer

    async def aclose(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})


def _in_a_word(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return type(error).__name__


class Health:
    """What a service says of its health, as plain data in snake case.

    Args:
        service: its name in the system.
        version: of what runs.
        timeout: seconds that a dependency has to respond.
        now: seconds that only go forward.
    """

    def __init__(
        self, service: str, version: str, *, timeout: float = TIMEOUT, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._identity = {"service": service, "version": version}
        self._timeout = timeout
        self._now = now
        self._started = now()
        self._own: list[_Dependency] = []
        self._neighbours: list[_Dependency] = []
        self.loop_lag = LoopLag()
        self.stopping = False
        """set by the host as it begins to stop: no longer ready, still alive"""

    def add(self, name: str, probe: Probe, *, critical: bool = True) -> None:
        """Watch something of the service's own: its database, its cache.

        Args:
            name: as shown.
            probe: raises unless all is well; it has `timeout` seconds.
            critical: without it the service can't serve, so it is not ready.
        """
        self._own.append(self._dependency(name, probe, critical=critical))

    def add_neighbour(self, name: str, address: str, probe: Probe) -> None:
        """Watch another service, which `alive` names with its address. Its failing never makes this one unready."""
        self._neighbours.append(self._dependency(name, probe, critical=False, address=address))

    def _dependency(self, name: str, probe: Probe, *, critical: bool, address: str | None = None) -> _Dependency:
        return _Dependency(name, probe, critical=critical, address=address, timeout=self._timeout, now=self._now)

    async def alive(self) -> dict[str, Any]:
        """What `GET /health` says: the process runs and answers; with its neighbours, where it has any."""
        payload: dict[str, Any] = {"status": "healthy", **self._identity}
        if self._neighbours:
            answers = await asyncio.gather(*(each.state(self._timeout * _ALIVE_SHARE) for each in self._neighbours))
            payload["dependencies"] = {
                each.name: {"address": each.address, "status": answer.status}
                for each, answer in zip(self._neighbours, answers, strict=True)
            }
        return payload

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether the service may get traffic, and what `GET /health/ready` says."""
        critical = [each for each in self._own if each.critical]
        answers = await asyncio.gather(*(each.state() for each in critical))
        failing = [each.name for each, answer in zip(critical, answers, strict=True) if answer.status != "up"]
        if self.stopping:
            return False, {"status": "stopping", **self._identity}
        if failing:
            return False, {"status": "not_ready", **self._identity, "failing": failing}
        return True, {"status": "ready", **self._identity}

    async def detailed(self) -> dict[str, Any]:
        """What `GET /health/detailed` says: each dependency, and the process itself."""
        everything = [*self._own, *self._neighbours]
        answers, vitals = await asyncio.gather(
            asyncio.gather(*(each.state() for each in everything)), asyncio.to_thread(process_vitals)
        )
        pairs = list(zip(everything, answers, strict=True))
        return {
            "status": _overall(pairs),
            **self._identity,
            "uptime_seconds": round(self._now() - self._started, 1),
            "dependencies": {each.name: _detail(each, answer) for each, answer in pairs},
            "process": vitals | {"event_loop_lag_ms": round(self.loop_lag.seconds * 1000, 2)},
        }

    async def aclose(self) -> None:
        """Stop asking."""
        for each in (*self._own, *self._neighbours):
            await each.aclose()


def _overall(pairs: list[tuple[_Dependency, Answer]]) -> str:
    if any(each.critical and answer.status != "up" for each, answer in pairs):
        return "unhealthy"
    return "healthy" if all(answer.status == "up" for _, answer in pairs) else "degraded"


def _detail(dependency: _Dependency, answer: Answer) -> dict[str, Any]:
    detail = {"critical": dependency.critical} | answer.shown()
    return detail if dependency.address is None else {"address": dependency.address} | detail
