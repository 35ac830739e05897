from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portico.kit.running import Running
from portico.services.payments.provider.domain import PaymentProvider
from portico.services.payments.provider.simulated.resources import SimulatedProvider


@asynccontextmanager
async def open_provider(running: Running) -> AsyncIterator[PaymentProvider]:
    """The provider that charges. A team with one of its own opens that in its place; see docs/payments.md."""
    yield SimulatedProvider(running)
