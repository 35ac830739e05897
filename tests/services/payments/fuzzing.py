"""Payments for the generated requests to payments."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.services.payments.support import charge

from portico.services.payments import service
from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing
from portico.testing.running_service import run_service


@asynccontextmanager
async def open_for_fuzzing(databases: Databases, _folder: Path) -> AsyncIterator[Fuzzing]:
    """Run payments with a payment that succeeded and one that was declined."""
    async with run_service(service, databases, background=False) as payments:
        created = [(await charge(payments, method=method))["payment_id"] for method in ("pm_ok", "pm_declined")]
        token = payments.issuer.token
        bearers = [
            token("service:orders", lasting=10_000_000),
            token(permissions=["*"], lasting=10_000_000),
            None,
        ]
        known = {"payment_id": created, "provider": ["simulated"], "key": ["ord_1/charge", "one"]}
        yield Fuzzing(payments, bearers, known=known)
