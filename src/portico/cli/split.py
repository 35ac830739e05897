"""A system in many processes: this one listens and watches over the others, which serve."""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

from portico.cli.banner import NewAdministrator, show_system
from portico.cli.child import Assignment
from portico.cli.errors import MENDABLE, CommandError
from portico.cli.ports import GATEWAY, moved_to, ports_of
from portico.cli.process import run
from portico.cli.supervising import Keeper, Program, keep_all
from portico.kit.messaging.brokers.factory import names_broker
from portico.kit.runtime.signals import stop_requested
from portico.kit.runtime.system import System
from portico.kit.settings import Environment, Settings, check_server_passwords, database_for
from portico.kit.telemetry.logs import Logs


def check_can_split(system: System, settings: Settings, workers: int) -> None:
    """Raises CommandError where this platform, or what is embedded, does not allow that many processes."""
    if sys.platform == "win32":
        raise CommandError(
            "Windows can't hand a listening socket to another process as --split does.",
            "Run each part by itself: portico run identity, and so on.",
        )
    handlers = [each.name for each in system.placements if each.service.consumers]
    if handlers and not names_broker(settings):
        raise CommandError(
            f"{system.name} in many processes needs a broker, which brings the events of the others to {', '.join(handlers)}.",
            "Add --servers, which starts one (and PostgreSQL and Redis), or set RABBITMQ_URL, NATS_URL or KAFKA_URL.",
        )
    if workers == 1:
        return
    embedded = [each.name for each in system.placements if database_for(settings, each.name).embedded]
    missing = []
    if embedded:
        missing.append(f"DATABASE_URL (the SQLite files of {', '.join(embedded)} have one writer each, in one process)")
    if settings.redis_url is None:
        missing.append("REDIS_URL (caches and rate limits in memory would differ from process to process)")
    if missing:
        raise CommandError(
            f"--workers {workers} shares what is embedded here.", f"Add --servers, or set {' and '.join(missing)}."
        )


def up_split(
    system: System, name: str, environment: Environment, sockets: Mapping[str, socket.socket], workers: int
) -> int:
    """Serve every part of `system` in `workers` processes of its own until told to stop; the exit status."""
    settings = environment.read(Settings)
    check_server_passwords(settings)
    os.environ.update(environment.variables)  # for the children: the command line may have said more
    return run(_Split(moved_to(system, sockets), name, settings, sockets, workers).serve())


class _Split:
    def __init__(
        self, system: System, name: str, settings: Settings, sockets: Mapping[str, socket.socket], workers: int
    ) -> None:
        self._system = system
        self._settings = settings
        self._sockets = sockets
        self._waited_for = {f"{part} {number}" for part in sockets for number in range(1, workers + 1)}
        self._administrator: NewAdministrator | None = None
        self._keepers = {
            part: [self._keeper(name, part, number) for number in range(1, workers + 1)] for part in sockets
        }

    async def serve(self) -> int:
        logs = Logs.configure(level=self._settings.log_level, style=self._settings.log_format)
        everyone = [each for keepers in self._keepers.values() for each in keepers]

        def kill() -> None:
            for each in everyone:
                each.kill()

        try:
            with stop_requested(at_once=kill) as stop:
                started = await keep_all(everyone, stop)
                await self._stop()
            return 0 if started else MENDABLE
        finally:
            logs.close()

    def _keeper(self, system: str, part: str, number: int) -> Keeper:
        assignment = Assignment(system, part, self._sockets[part].fileno(), ports_of(self._system))
        name = f"{part} {number}"
        program = Program(name, "portico.cli.child", assignment.dumped(), assignment.descriptor)
        return Keeper(program, lambda told: self._answers(name, told))

    def _answers(self, name: str, told: dict[str, Any]) -> None:
        if told["administrator"] is not None:
            self._administrator = NewAdministrator(**told["administrator"])
        if name in self._waited_for:
            self._waited_for.remove(name)
            if not self._waited_for:
                show_system(self._system, self._settings, self._administrator)

    async def _stop(self) -> None:
        """The gateway first: what it has in flight still needs the services."""
        for bound in self._sockets.values():
            bound.close()  # nobody accepts what would wait there
        grace = self._settings.grace_period
        await asyncio.gather(*(each.stop(grace) for each in self._keepers[GATEWAY]))
        others = [each for part, keepers in self._keepers.items() if part != GATEWAY for each in keepers]
        await asyncio.gather(*(each.stop(grace) for each in others))
