"""A service in this process: its app is called directly, and all else is as if a socket were between.

The app runs in a task and a context of its own, so that no context variable of the gateway reaches it; it is not
cancelled when the client goes away, but sees a disconnect; an exception of its is a 500, or an answer that breaks off;
and it gets no more than a buffer ahead of who reads.
"""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

from starlette.types import ASGIApp

from portico.gateway.upstreams.base import Answer, Sending, Tunnel
from portico.gateway.upstreams.local_exchange import LocalExchange
from portico.gateway.upstreams.local_tunnel import LocalTunnel
from portico.gateway.upstreams.scopes import http_scope, websocket_scope
from portico.kit.calls.errors import CallTimedOut


class LocalUpstream:
    """Calls the ASGI app of a service.

    Args:
        service: Its name in the system.
        app: Its app, whose lifespan its host runs.
    """

    several = False

    def __init__(self, service: str, app: ASGIApp) -> None:
        self._service = service
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, request: Sending, tried: set[str]) -> Answer:
        tried.add(self._service)
        exchange = LocalExchange(self._service, request)
        self._start(exchange.run(self._app, http_scope(request, self._service)))
        try:
            async with asyncio.timeout(request.timeout):
                await exchange.begun()
        except TimeoutError:
            exchange.leave()
            raise CallTimedOut(self._service, "no answer in time") from None
        except BaseException:
            exchange.leave()
            raise
        return exchange

    async def connect(self, request: Sending) -> Tunnel:
        tunnel = LocalTunnel(self._service)
        self._start(tunnel.run(self._app, websocket_scope(request, self._service)))
        try:
            async with asyncio.timeout(request.timeout):
                await tunnel.opened()
        except TimeoutError:
            tunnel.leave()
            raise CallTimedOut(self._service, "no answer in time") from None
        except BaseException:
            tunnel.leave()
            raise
        return tunnel

    async def aclose(self) -> None:
        """End what still runs: its callers are gone by now."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
