"""Serve an ASGI application on a port of this machine, in the test's event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from portico.kit._compat.uvicorn_server import ServerState, protocol_factory


@asynccontextmanager
async def loopback_server(app: Any) -> AsyncIterator[str]:
    """Serve `app` on a free port; the value is its address, `http://127.0.0.1:port`.

    At the end, open connections are closed, and their requests are awaited.
    """
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    state = ServerState()
    make = protocol_factory(config, state)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for connection in list(state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await server.wait_closed()
