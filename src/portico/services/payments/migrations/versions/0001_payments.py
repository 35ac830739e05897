"""Create payments, refunds, the ledger, webhook events and the tables of the simulated provider."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.bookings import BookingId
from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId, RefundId
from portico.kit import UserId
from portico.kit.data import ExactText, IdentifierText, Instant, LongText, Sequence
from portico.services.payments.ledger.models import TransactionId
from portico.services.payments.simulated_provider.models import ChargeId, ProviderRefundId

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "ledger_transactions",
        sa.Column("transaction_id", IdentifierText(TransactionId), nullable=False),
        sa.Column("kind", ExactText(20), nullable=False),
        sa.Column("reference", ExactText(48), nullable=False),
        sa.Column("payment_id", IdentifierText(PaymentId), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", name="pk_ledger_transactions"),
        sa.UniqueConstraint("reference", name="uq_ledger_transactions_reference"),
    )
    op.create_index("ix_ledger_transactions_payment_id", "ledger_transactions", ["payment_id"])
    op.create_table(
        "payment_keys",
        sa.Column("key", ExactText(200), nullable=False),
        sa.Column("payment_id", IdentifierText(PaymentId), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_payment_keys"),
    )
    op.create_table(
        "payments",
        sa.Column("payment_id", IdentifierText(PaymentId), nullable=False),
        sa.Column("order_id", IdentifierText(OrderId), nullable=True),
        sa.Column("booking_id", IdentifierText(BookingId), nullable=True),
        sa.Column("user_id", IdentifierText(UserId), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("method", ExactText(100), nullable=False),
        sa.Column("status", ExactText(20), nullable=False),
        sa.Column("failure_reason", ExactText(255), nullable=True),
        sa.Column("charge_id", ExactText(255), nullable=True),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("refunding_minor", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("settle_at", Instant(), nullable=True),
        sa.Column("voided_at", Instant(), nullable=True),
        sa.Column("charged_at", Instant(), nullable=True),
        sa.Column("reported_minor", sa.BigInteger(), nullable=True),
        sa.Column("reported_currency", ExactText(10), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("payment_id", name="pk_payments"),
    )
    op.create_index("ix_payments_order_id_payment_id", "payments", ["order_id", "payment_id"])
    op.create_index("ix_payments_booking_id_payment_id", "payments", ["booking_id", "payment_id"])
    op.create_index("ix_payments_settle_at", "payments", ["settle_at"])
    op.create_index("ix_payments_user_id_payment_id", "payments", ["user_id", "payment_id"])
    op.create_table(
        "refunds",
        sa.Column("refund_id", IdentifierText(RefundId), nullable=False),
        sa.Column("payment_id", IdentifierText(PaymentId), nullable=False),
        sa.Column("charge_id", ExactText(255), nullable=False),
        sa.Column("key", ExactText(200), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("requested_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("reason", sa.String(length=255), nullable=True),
        sa.Column("requested_by", ExactText(48), nullable=False),
        sa.Column("status", ExactText(20), nullable=False),
        sa.Column("failure_reason", ExactText(255), nullable=True),
        sa.Column("reported_minor", sa.BigInteger(), nullable=True),
        sa.Column("reported_currency", ExactText(10), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("settle_at", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("refund_id", name="pk_refunds"),
        sa.UniqueConstraint("payment_id", "key", name="uq_refunds_payment_id_key"),
    )
    op.create_index("ix_refunds_settle_at", "refunds", ["settle_at"])
    op.create_table(
        "simulated_charges",
        sa.Column("key", ExactText(64), nullable=False),
        sa.Column("charge_id", IdentifierText(ChargeId), nullable=False),
        sa.Column("reference", ExactText(48), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("method", ExactText(100), nullable=False),
        sa.Column("status", ExactText(20), nullable=False),
        sa.Column("failure_reason", ExactText(100), nullable=True),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("settles_at", Instant(), nullable=True),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_simulated_charges"),
        sa.UniqueConstraint("charge_id", name="uq_simulated_charges_charge_id"),
    )
    op.create_index("ix_simulated_charges_settles_at", "simulated_charges", ["settles_at"])
    op.create_table(
        "simulated_refunds",
        sa.Column("key", ExactText(64), nullable=False),
        sa.Column("refund_id", IdentifierText(ProviderRefundId), nullable=False),
        sa.Column("charge_id", IdentifierText(ChargeId), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_simulated_refunds"),
    )
    op.create_index("ix_simulated_refunds_charge_id", "simulated_refunds", ["charge_id"])
    op.create_table(
        "simulated_webhooks",
        sa.Column("number", Sequence, autoincrement=True, nullable=False),
        sa.Column("body", LongText, nullable=False),
        sa.Column("send_at", Instant(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_simulated_webhooks"),
    )
    op.create_index("ix_simulated_webhooks_send_at", "simulated_webhooks", ["send_at"])
    op.create_table(
        "webhook_events",
        sa.Column("provider", ExactText(40), nullable=False),
        sa.Column("event_id", ExactText(255), nullable=False),
        sa.Column("type", ExactText(100), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "event_id", name="pk_webhook_events"),
    )
    op.create_index("ix_webhook_events_received_at", "webhook_events", ["received_at"])
    op.create_table(
        "ledger_entries",
        sa.Column("entry_id", Sequence, autoincrement=True, nullable=False),
        sa.Column("transaction_id", IdentifierText(TransactionId), nullable=False),
        sa.Column("account", ExactText(40), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["ledger_transactions.transaction_id"], name="fk_ledger_entries_transaction_id"
        ),
        sa.PrimaryKeyConstraint("entry_id", name="pk_ledger_entries"),
    )
    op.create_index("ix_ledger_entries_transaction_id", "ledger_entries", ["transaction_id"])


def downgrade() -> None:
    op.drop_table("ledger_entries")
    op.drop_table("webhook_events")
    op.drop_table("simulated_webhooks")
    op.drop_table("simulated_refunds")
    op.drop_table("simulated_charges")
    op.drop_table("refunds")
    op.drop_table("payments")
    op.drop_table("payment_keys")
    op.drop_table("ledger_transactions")
