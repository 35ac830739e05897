"""Connection time-outs of database servers."""

import asyncio
from typing import Any, Final

from sqlalchemy import URL

CONNECT_TIMEOUT: Final = 5.0  # seconds, unless DATABASE_CONNECT_TIMEOUT is set


def connect_options(address: URL, seconds: float) -> dict[str, Any]:
    """Return driver options that limit the time to connect. On expiry the driver raises TimeoutError.

    asyncmy's own limit covers only opening the socket. Without this limit it would wait forever for a server that
    accepts the connection and sends nothing, such as a frozen server or one with another protocol.
    """
    if address.get_backend_name() == "postgresql":
        return {"timeout": seconds}

    async def connect(**arguments: Any) -> Any:
        import asyncmy  # installed only with the MySQL extra

        async with asyncio.timeout(seconds):
            return await asyncmy.connect(**arguments)

    return {"async_creator_fn": connect}
