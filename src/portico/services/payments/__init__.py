"""Payments: charges, refunds, and the ledger underneath."""

from starlette.types import ASGIApp

from portico.contracts.payments import PaymentFailed, PaymentProcessed, PaymentRefunded
from portico.contracts.verifying import verifier_of
from portico.kit.runtime.service import Service
from portico.kit.runtime.standalone import standalone
from portico.services.payments.cancellation import endpoints as cancellation
from portico.services.payments.models import Table
from portico.services.payments.outcomes import jobs as outcomes
from portico.services.payments.payments import endpoints as payments
from portico.services.payments.provider.domain import PaymentProvider
from portico.services.payments.provider.resources import open_provider
from portico.services.payments.provider.simulated import jobs as simulated
from portico.services.payments.reconciliation import endpoints as reconciliation
from portico.services.payments.reconciliation.resources import OrderBook, open_orders
from portico.services.payments.refunds import endpoints as refunds
from portico.services.payments.settings import PaymentsSettings
from portico.services.payments.webhooks import endpoints as webhooks

service = Service(
    name="payments",
    summary="Charges, refunds, and the ledger underneath",
    module=__name__,
    routers=[payments.router, refunds.router, cancellation.router, webhooks.router, reconciliation.router],
    jobs=[outcomes.settle_what_is_open, outcomes.forget_old_webhooks, simulated.run_simulated_provider],
    publishes=[PaymentProcessed, PaymentFailed, PaymentRefunded],
    tables=Table.metadata,
    settings=PaymentsSettings,
    resources={PaymentProvider: open_provider, OrderBook: open_orders},
    calls=["identity", "orders"],
    secrets=["service_secret", "webhook_secret"],
)


def app() -> ASGIApp:
    """Payments as an ordinary ASGI application: `uvicorn --factory portico.services.payments:app`."""
    return standalone(service, verifier_of=verifier_of)
