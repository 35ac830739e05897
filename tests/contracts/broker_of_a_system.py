"""Fixtures: a broker for each test, with a new system."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from itertools import count

import pytest

from portico.kit.messaging.brokers.base import Broker
from portico.kit.messaging.brokers.factory import open_broker
from portico.kit.settings import Settings, read_settings

Open = Callable[[], AbstractAsyncContextManager[Broker]]

_systems = count(1)


class BrokerOfASystem:
    """Fixtures of broker contracts, based on `environ`, the variables that name the broker."""

    @pytest.fixture
    def system(self) -> str:
        """Return the name of a new system, whose queues do not exist yet."""
        return f"shop-{os.getpid()}-{next(_systems)}"

    @pytest.fixture
    def another(self, environ: Mapping[str, str], system: str) -> Open:
        """Return a function that opens the broker as in another process."""
        settings = read_settings(Settings, environ=environ, dotenv_file=None).value
        return lambda: open_broker(settings, system)

    @pytest.fixture
    def of_another_system(self, environ: Mapping[str, str], system: str) -> Open:
        """Return a function that opens the broker of another system on the same server."""
        settings = read_settings(Settings, environ=environ, dotenv_file=None).value
        settings = settings.model_copy(update={"data_dir": settings.data_dir / "other"})
        return lambda: open_broker(settings, f"{system}-other")

    @pytest.fixture
    async def broker(self, another: Open) -> AsyncIterator[Broker]:
        async with another() as broker:
            yield broker
