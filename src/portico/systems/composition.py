"""Composition: the parts of a system that run in one process (some services, the gateway, or everything)."""

from collections.abc import Collection
from types import TracebackType
from typing import Self

from starlette.types import ASGIApp

from portico.contracts.token_settings import TokenSettings
from portico.contracts.token_verification import verifier_for, verifier_of
from portico.gateway import Gateway
from portico.gateway.policy import GATEWAY_PERMISSION
from portico.kit import Calls, Clock, System
from portico.kit.auth import TokenVerifier
from portico.kit.runtime import Host, Migrating, ServiceRuntime, layout_of
from portico.kit.runtime.declaration_check import unused_permissions
from portico.kit.runtime.shutdown import ShutdownStack
from portico.kit.settings import Environment
from portico.kit.telemetry import Logs, get_logger

logger = get_logger(__name__)

GATEWAY = "gateway"


class Composition:
    """Parts of a system in this process: `async with Composition(system, environment) as running: running.apps["gateway"]`.

    The gateway calls services of this process directly and the others over HTTP.

    Args:
        system: the system.
        environment: the source of settings.
        parts: names of services, and `gateway`; None runs everything.
        background: whether background tasks run (jobs, refresh of verification keys); False for short commands.
        migrating: "upgrade" runs pending migrations, "require" refuses to start if a database server has pending ones.
        clock: source of the time.
        logs: destination of the access log; None writes no access log.
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
        self._background = background
        self._has_gateway = parts is None or GATEWAY in parts
        self._clock = clock or Clock()
        self._logs = logs
        self._stack = ShutdownStack()

    async def __aenter__(self) -> Self:
        try:
            await self._stack.enter_async_context(self.host)
            if self._has_gateway:
                for warning in unused_permissions(self.system, [GATEWAY_PERMISSION]):
                    logger.warning("role_permission_unused", advice=warning)
                self.gateway = await self._stack.enter_async_context(self._new_gateway())
                self.apps[GATEWAY] = self.gateway
            self.apps |= self.host.apps
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        await self._stack.aclose()

    @property
    def contexts(self) -> dict[str, ServiceRuntime]:
        """The services in this process by name."""
        return self.host.contexts

    def stop(self) -> None:
        """Begin to shut down, before the HTTP servers do: become unready and end event streams."""
        if self.gateway is not None:
            self.gateway.stop()
        self.host.stop()

    def _new_gateway(self) -> Gateway:
        return Gateway(
            self.system,
            self.host.settings,
            verifier=self.host.verifier or self._new_verifier(),
            background=self._background,
            apps=self.host.apps,
            addresses=self.host.addresses,
            clock=self._clock,
            loop_lag=self.host.loop_lag,
            logs=self._logs,
        )

    def _new_verifier(self) -> TokenVerifier:
        layout = layout_of(self.system)
        return verifier_for(
            self.system,
            self.host.environment.read(TokenSettings),
            public=Calls(self.host.channel, layout=layout),
            own=Calls(self.host.channel, identity=self.host.identity(GATEWAY), layout=layout),
            broadcasts=self.host.broadcasts,
            clock=self._clock,
        )
