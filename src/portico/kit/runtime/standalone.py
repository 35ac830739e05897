"""One service as an ASGI application for any ASGI server: `uvicorn --factory portico.asgi:app`."""

from contextlib import AsyncExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portico.kit.runtime.host import Host, VerifierOf
from portico.kit.runtime.system_loader import find_system
from portico.kit.settings import Environment, Settings, SettingsError
from portico.kit.telemetry.logs import Logs, get_logger

logger = get_logger(__name__)


class StandaloneService:
    """The service PORTICO_SERVICE of the system PORTICO_SYSTEM, which starts and stops in the server's lifespan.

    A database on a server must already be migrated. An embedded database is migrated at the start.

    Args:
        verifier_of: creates the token verifier of a service that does not issue tokens.
        environment: source of the settings; None is this process's environment and `.env`.
    """

    def __init__(self, *, verifier_of: VerifierOf, environment: Environment | None = None) -> None:
        self._verifier_of = verifier_of
        self._environment = environment
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        elif self._app is None:
            raise RuntimeError("portico.asgi:app needs a server that runs the ASGI lifespan protocol.")
        else:
            await self._app(scope, receive, send)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with AsyncExitStack() as stack:
            try:
                self._app = await self._open(stack)
            except Exception as error:
                logger.exception("service_start_failed")
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
        await send(_SHUTDOWN_COMPLETE)

    async def _open(self, stack: AsyncExitStack) -> ASGIApp:
        environment = self._environment or Environment.of_process()
        settings = environment.read(Settings)
        logs = Logs.configure(level=settings.log_level, style=settings.log_format)
        stack.callback(logs.close)
        if settings.portico_system is None:
            raise SettingsError(
                "PORTICO_SYSTEM is not set. Set it to the system that the service belongs to: a shipped one by name, or an "
                "import path (shop.systems:shop)."
            )
        system = find_system(settings.portico_system)
        for warning in environment.misspelt(system.variables):
            logger.warning("setting_misspelt", advice=warning)
        if settings.portico_service is None:
            raise SettingsError("PORTICO_SERVICE is not set. Set it to the name of a service of the system.")
        name = system.placement(settings.portico_service).name
        host = Host(system, environment, verifier_of=self._verifier_of, only=[name], migrating="require", logs=logs)
        await stack.enter_async_context(host)
        for warning in host.warnings:
            logger.warning("well_known_password", advice=warning)
        stack.callback(host.stop)
        return host.apps[name]


_SHUTDOWN_COMPLETE: Message = {"type": "lifespan.shutdown.complete"}
