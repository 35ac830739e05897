from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portico.kit.runtime.context import ServiceRuntime
from portico.services.payments.provider.domain import PaymentProvider
from portico.services.payments.provider.simulated.resources import SimulatedProvider


@asynccontextmanager
async def open_provider(context: ServiceRuntime) -> AsyncIterator[PaymentProvider]:
    """The provider that charges. A team with one of its own opens that in its place; see docs/payments.md."""
    yield SimulatedProvider(context)
