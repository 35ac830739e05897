"""One service as an ordinary ASGI application, for whatever server runs it: `uvicorn --factory …identity:app`."""

from contextlib import AsyncExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portico.kit.runtime.host import Host, VerifierOf
from portico.kit.runtime.service import Service
from portico.kit.runtime.system_loader import find_system
from portico.kit.settings import Settings, check_server_passwords
from portico.kit.settings.environment import Environment
from portico.kit.telemetry.logs import Logs, get_logger

logger = get_logger(__name__)


def standalone(service: Service, *, verifier_of: VerifierOf, environment: Environment | None = None) -> ASGIApp:
    """`service` as an application that builds itself in its lifespan, from the environment.

    PORTICO_SYSTEM names the system that it belongs to. Its database must be migrated, unless it is an embedded one.

    Args:
        service: what to run.
        verifier_of: how it verifies tokens where it does not issue them.
        environment: what settings are read from; this process's environment and `.env` if None.
    """
    return _Standalone(service, verifier_of, environment)


class _Standalone:
    def __init__(self, service: Service, verifier_of: VerifierOf, environment: Environment | None) -> None:
        self._service = service
        self._verifier_of = verifier_of
        self._environment = environment
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is None:
            raise RuntimeError(f"{self._service.name} needs a server that runs its lifespan (ASGI lifespan protocol)")
        else:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with AsyncExitStack() as stack:
            try:
                self._app = await self._open(stack)
            except Exception as error:
                logger.exception("not started", service=self._service.name)
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
        await send(_OVER)

    async def _open(self, stack: AsyncExitStack) -> ASGIApp:
        environment = self._environment or Environment.of_process()
        settings = environment.read(Settings)
        logs = Logs.configure(level=settings.log_level, style=settings.log_format)
        stack.callback(logs.close)
        for warning in check_server_passwords(settings):
            logger.warning(warning)
        system = find_system(settings.portico_system)
        name = system.name_of(self._service)
        host = Host(system, environment, verifier_of=self._verifier_of, only=[name], migrating="require", logs=logs)
        await stack.enter_async_context(host)
        stack.callback(host.stop)
        return host.apps[name]


_OVER: Message = {"type": "lifespan.shutdown.complete"}
