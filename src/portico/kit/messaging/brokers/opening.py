"""Which broker a system has: the one that the settings name, else the embedded one."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from portico.kit.messaging.brokers.base import Broker
from portico.kit.messaging.brokers.embedded import EmbeddedBroker
from portico.kit.settings import Settings, SettingsError

EMBEDDED_FILE = "broker.db"


@asynccontextmanager
async def open_broker(settings: Settings, system: str) -> AsyncIterator[Broker]:
    """The broker of a system. A server is connected to when it is needed, so that it may come later.

    Args:
        settings: what names it.
        system: whose events it carries; a server may carry those of several.

    Raises:
        SettingsError: the server's driver is not installed.
    """
    if names_broker(settings):
        async with aclosing(_on_server(settings, system)) as broker:
            yield broker
    else:
        path = settings.data_dir / EMBEDDED_FILE
        async with EmbeddedBroker(path, size_limit=settings.event_size_limit) as embedded:
            yield embedded


def names_broker(settings: Settings) -> bool:
    """Whether events go to a server, which several processes can share."""
    return settings.rabbitmq_url is not None or settings.nats_url is not None


def _on_server(settings: Settings, system: str) -> Broker:
    try:
        if settings.rabbitmq_url is not None:
            from portico.kit.messaging.brokers.rabbitmq import RabbitMQBroker

            return RabbitMQBroker(settings.rabbitmq_url, system, size_limit=settings.event_size_limit)
        from portico.kit.messaging.brokers.nats import NatsBroker

        return NatsBroker(settings.nats_url or "", system, size_limit=settings.event_size_limit)
    except ModuleNotFoundError as error:
        variable, extra = ("RABBITMQ_URL", "rabbitmq") if settings.rabbitmq_url else ("NATS_URL", "nats")
        raise SettingsError(
            f"{variable} is set and its driver is not installed: python3 -m pip install 'portico[{extra}]', "
            "or leave it out to keep events in a file on this machine."
        ) from error
