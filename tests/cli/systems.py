"""A small system for tests of commands, with a slow request, an endless one, and stored data."""

import asyncio
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse
from tests.examples.loans import service as loans

from portico.kit.http.context import Context
from portico.kit.http.router import Router
from portico.kit.runtime.service import Service
from portico.kit.runtime.system import System
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

router = Router(prefix="/patience", tags=["patience"])


@router.get("/slow")
async def slow(context: Context) -> dict[str, str]:
    """Respond after the process has received SIGTERM."""
    logger.info("slow began")
    await context.stopping.wait()
    return {"answer": "at last"}


@router.get("/never")
async def never() -> dict[str, str]:
    """Never answer."""
    logger.info("never began")
    await asyncio.Event().wait()
    return {}


@router.get("/stream", framework={"response_class": StreamingResponse})
async def stream() -> StreamingResponse:
    """Say something, and then nothing for ever."""
    return StreamingResponse(_for_ever(), media_type="text/event-stream")


async def _for_ever() -> AsyncIterator[bytes]:
    yield b"data: hello\n\n"
    await asyncio.Event().wait()


patience = Service(name="patience", summary="Takes its time", module=__name__, routers=[router])

library = System(
    "library", summary="Readers, books and patience", gateway=1, services={loans: 1, patience: 1}, default_role=None
)
