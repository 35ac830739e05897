"""Payments: charges, refunds, and a double-entry ledger."""

from portico.contracts.payments import (
    BookingPaymentFailed,
    BookingPaymentProcessed,
    BookingPaymentRefunded,
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
)
from portico.kit import Service
from portico.services.payments import api, jobs
from portico.services.payments.charges import ChargeWriter, open_charge_writer
from portico.services.payments.ledger.totals import BookingTotals, OrderTotals, open_booking_totals, open_order_totals
from portico.services.payments.models import Table
from portico.services.payments.provider import PaymentProvider
from portico.services.payments.settings import PaymentsSettings
from portico.services.payments.simulated_provider import jobs as simulated_provider
from portico.services.payments.simulated_provider.provider import (
    SimulatedCharges,
    open_simulated_charges,
    open_simulated_provider,
)

service = Service(
    name="payments",
    summary="Charges, refunds, and a double-entry ledger",
    module=__name__,
    routers=[api.payments, api.refunds, api.voids, api.webhooks, api.ledger],
    jobs=[jobs.settle_open_payments, jobs.delete_old_webhooks, simulated_provider.run_simulated_provider],
    publishes=[
        PaymentProcessed,
        PaymentFailed,
        PaymentRefunded,
        BookingPaymentProcessed,
        BookingPaymentFailed,
        BookingPaymentRefunded,
    ],
    tables=Table.metadata,
    settings=PaymentsSettings,
    resources={
        ChargeWriter: open_charge_writer,
        SimulatedCharges: open_simulated_charges,
        PaymentProvider: open_simulated_provider,
        OrderTotals: open_order_totals,
        BookingTotals: open_booking_totals,
    },
    calls=["identity"],
    optional_calls=["orders", "bookings"],
    secrets=["service_secret"],
)
