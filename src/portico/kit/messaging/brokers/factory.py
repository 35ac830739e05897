"""Choose the broker of a system: the server named in the settings, or the embedded broker."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from portico.kit.messaging.brokers.base import Broker
from portico.kit.messaging.brokers.embedded import EmbeddedBroker
from portico.kit.settings import BROKERS, Settings, SettingsError

EMBEDDED_FILE = "broker.db"


@asynccontextmanager
async def open_broker(settings: Settings, system: str) -> AsyncIterator[Broker]:
    """Open the broker of a system. The connection to a server is opened at first use, so the server may start later.

    Args:
        settings: name the server.
        system: name of the system; one server can carry the events of several systems.

    Raises:
        SettingsError: the driver of the named server is not installed.
    """
    variable = named_broker(settings)
    if variable is not None:
        async with aclosing(_on_server(variable, settings, system)) as broker:
            yield broker
    else:
        path = settings.data_dir / EMBEDDED_FILE
        async with EmbeddedBroker(path, size_limit=settings.event_size_limit) as embedded:
            yield embedded


def names_broker(settings: Settings) -> bool:
    """Return whether the settings name a broker server, which several processes can share."""
    return named_broker(settings) is not None


def named_broker(settings: Settings) -> str | None:
    """Return the name of the setting that names a broker server, or None. At most one is set."""
    return next((name for name in BROKERS if getattr(settings, name) is not None), None)


def _on_server(name: str, settings: Settings, system: str) -> Broker:
    url, limit = getattr(settings, name), settings.event_size_limit
    try:
        if name == "rabbitmq_url":
            from portico.kit.messaging.brokers.rabbitmq import RabbitMQBroker

            return RabbitMQBroker(url, system, size_limit=limit)
        if name == "nats_url":
            from portico.kit.messaging.brokers.nats import NatsBroker

            return NatsBroker(url, system, size_limit=limit)
        from portico.kit.messaging.brokers.kafka import KafkaBroker

        return KafkaBroker(url, system, size_limit=limit)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{name.upper()} is set, but its driver is not installed. Install it with "
            f"python3 -m pip install 'portico[{name.removesuffix('_url')}]', "
            f"or remove {name.upper()} to keep events in a file on this machine."
        ) from error
