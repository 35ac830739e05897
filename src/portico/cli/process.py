"""A process that serves parts of a system until it is told to stop."""

import asyncio
import gc
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from portico.kit.runtime.host import Migrating
from portico.kit.runtime.serving import Face, Servers
from portico.kit.runtime.system import System
from portico.kit.settings import Environment, Settings
from portico.kit.telemetry.logs import Logs, get_logger
from portico.systems.composition import Composition

logger = get_logger(__name__)

_NEW_OBJECTS = 10_000  # after which cycles are looked for; by Python's own 700 an order costs 7 % more


@dataclass(frozen=True)
class Process:
    """What one process serves: the parts of `system` that `sockets` names, each on its socket.

    `migrating` is what is done about pending migrations on a server: run them, or refuse to start.
    """

    system: System
    environment: Environment
    sockets: Mapping[str, socket.socket]
    migrating: Migrating = "upgrade"

    async def serve(self, stop: asyncio.Event, *, ready: Callable[[Composition], object]) -> None:
        """Serve until `stop` is set; `ready` is called when all ports answer.

        What is in flight then finishes within GRACE_PERIOD.
        """
        settings = self.environment.read(Settings)
        logs = Logs.configure(level=settings.log_level, style=settings.log_format)
        try:
            await self._serve(stop, ready, settings.grace_period, logs)
        finally:
            logs.close()

    async def _serve(
        self, stop: asyncio.Event, ready: Callable[[Composition], object], grace: float, logs: Logs
    ) -> None:
        whole = Composition(
            self.system, self.environment, parts=self.sockets.keys(), migrating=self.migrating, logs=logs
        )
        async with whole:
            for warning in whole.host.warnings:
                logger.warning("well_known_password", advice=warning)
            faces = [Face(name, whole.apps[name], bound) for name, bound in self.sockets.items()]
            async with Servers(faces, grace=grace):
                _spare_the_collector()
                ready(whole)
                await stop.wait()
                logger.info("stopping", grace_seconds=grace)
                whole.stop()
        logger.info("stopped")


def _spare_the_collector() -> None:
    """Exclude the objects created so far from garbage collection, and collect less often.

    It would look through the whole of it now and then, for a sixth of a second in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` in an event loop of its own, uvloop's where there is one; what it gives is the exit status."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
