"""A process that serves parts of a system."""

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from portico.kit.foundation.garbage_collection import tune_garbage_collection
from portico.kit.runtime.host import Migrating
from portico.kit.runtime.serving import ConnectionLimits, ServedApp, Servers
from portico.kit.runtime.system import System
from portico.kit.runtime.tls import ServerCertificate
from portico.kit.settings import Environment, Settings
from portico.kit.telemetry.logs import Logs, get_logger
from portico.systems.composition import GATEWAY, Composition

logger = get_logger(__name__)


@dataclass(frozen=True)
class Process:
    """What one process serves.

    Args:
        system: the system.
        environment: its settings.
        sockets: a listening socket for each part that this process serves.
        migrating: what to do about pending migrations on a database server: run them, or refuse to start.
    """

    system: System
    environment: Environment
    sockets: Mapping[str, socket.socket]
    migrating: Migrating = "upgrade"

    async def serve(self, stop: asyncio.Event, *, ready: Callable[[Composition], object]) -> None:
        """Serve until `stop` is set, then finish requests in flight within GRACE_PERIOD.

        Args:
            stop: ends the process when set.
            ready: called when all ports answer.
        """
        settings = self.environment.read(Settings)
        logs = Logs.configure(level=settings.log_level, style=settings.log_format)
        try:
            await self._serve(stop, ready, settings, logs)
        finally:
            logs.close()

    async def _serve(
        self, stop: asyncio.Event, ready: Callable[[Composition], object], settings: Settings, logs: Logs
    ) -> None:
        composition = Composition(
            self.system, self.environment, parts=self.sockets.keys(), migrating=self.migrating, logs=logs
        )
        async with composition:
            for warning in composition.host.warnings:
                logger.warning("well_known_password", advice=warning)
            faces = [_served(composition, name, bound, settings) for name, bound in self.sockets.items()]
            async with Servers(faces, grace=settings.grace_period):
                tune_garbage_collection()
                ready(composition)
                await stop.wait()
                logger.info("stopping", service=self._name, grace_seconds=settings.grace_period)
                composition.stop()
        logger.info("stopped", service=self._name)

    @property
    def _name(self) -> str:
        """The name of the only part that this process serves; of the system if there are several."""
        return next(iter(self.sockets)) if len(self.sockets) == 1 else self.system.name


def _served(composition: Composition, name: str, bound: socket.socket, settings: Settings) -> ServedApp:
    limits = ConnectionLimits.of(settings, behind_gateway=name != GATEWAY)
    served = ServedApp(name, composition.apps[name], bound, limits)
    if name != GATEWAY or composition.gateway is None:
        return served
    certificate = None
    if settings.tls_certificate is not None and settings.tls_key is not None:
        certificate = ServerCertificate(settings.tls_certificate, settings.tls_key)
    return replace(served, connection=composition.gateway.connection_class, certificate=certificate)


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` in a new event loop, uvloop if it is available; return its result, the exit status."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
