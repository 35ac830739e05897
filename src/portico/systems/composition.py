"""What one process runs of a system: services with all that they need, its gateway, or the whole."""

from collections.abc import Collection
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from starlette.types import ASGIApp

from portico.contracts.verifying import TokenSettings, verifier_for, verifier_of
from portico.gateway import Gateway
from portico.kit import Calls, Clock, System
from portico.kit.auth import TokenVerifier
from portico.kit.runtime import Host, Migrating, ServiceRuntime, layout_of
from portico.kit.settings import Environment
from portico.kit.telemetry import Logs

GATEWAY = "gateway"


class Composition:
    """`parts` of `system` in this process: `async with Composition(system, environment) as whole: whole.apps["gateway"]`.

    The gateway calls the services that run here directly, and the others where they are.

    Args:
        system: the system.
        environment: where settings are read from.
        parts: names of services, and `gateway`; all of them if None.
        background: whether jobs and what keeps verifiers fresh run; not for a command that is done in a moment.
        migrating: "upgrade" runs pending migrations, "require" refuses to start where there are any on a server.
        clock: the time.
        logs: where the line of each request goes; none are written without.
    """

    def __init__(
        self,
        system: System,
        environment: Environment,
        *,
        parts: Collection[str] | None = None,
        background: bool = True,
        migrating: Migrating = "upgrade",
        clock: Clock | None = None,
        logs: Logs | None = None,
    ) -> None:
        self.system = system
        self.host = Host(
            system,
            environment,
            verifier_of=verifier_of,
            only=parts,
            background=background,
            migrating=migrating,
            clock=clock,
            logs=logs,
        )
        self.apps: dict[str, ASGIApp] = {}
        self.gateway: Gateway | None = None
        self._has_gateway = parts is None or GATEWAY in parts
        self._clock = clock or Clock()
        self._logs = logs
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._stack.enter_async_context(self.host)
            if self._has_gateway:
                self.gateway = await self._stack.enter_async_context(self._make_gateway())
                self.apps[GATEWAY] = self.gateway
            self.apps |= self.host.apps
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def contexts(self) -> dict[str, ServiceRuntime]:
        """The services in this process, by name."""
        return self.host.contexts

    def stop(self) -> None:
        """Begin to stop, before the servers do: nothing is ready for more, and event streams end."""
        if self.gateway is not None:
            self.gateway.stop()
        self.host.stop()

    def _make_gateway(self) -> Gateway:
        return Gateway(
            self.system,
            self.host.settings,
            verifier=self._verifier(),
            apps=self.host.apps,
            addresses=self.host.addresses,
            clock=self._clock,
            logs=self._logs,
        )

    def _verifier(self) -> TokenVerifier:
        layout = layout_of(self.system)
        return verifier_for(
            self.system,
            self.host.environment.read(TokenSettings),
            public=Calls(self.host.channel, layout=layout),
            own=Calls(self.host.channel, identity=self.host.identity(GATEWAY), layout=layout),
            broadcasts=self.host.broadcasts,
            clock=self._clock,
        )
