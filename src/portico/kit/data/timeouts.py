"""How long a database server gets to let a connection in."""

import asyncio
from typing import Any, Final

from sqlalchemy import URL

PATIENCE: Final = 5.0  # seconds


def in_time(address: URL, seconds: float = PATIENCE) -> dict[str, Any]:
    """What to say to the driver, so that it connects within so many seconds, or raises TimeoutError.

    asyncmy's own limit ends where the socket is open: a server that accepts and says nothing, which is frozen or speaks
    another protocol, would be waited for without end.
    """
    if address.get_backend_name() == "postgresql":
        return {"timeout": seconds}

    async def connect(**arguments: Any) -> Any:
        import asyncmy  # only who uses MySQL has it

        async with asyncio.timeout(seconds):
            return await asyncmy.connect(**arguments)

    return {"async_creator_fn": connect}
