"""Bookings, and what is known of shows."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.bookings import BookingId
from portico.contracts.events import ShowId
from portico.contracts.payments import PaymentId
from portico.contracts.seating import HoldId
from portico.kit import UserId
from portico.kit.data import ExactText, IdentifierNumber, IdentifierText, Instant, Payload

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "bookings",
        sa.Column("booking_id", IdentifierText(BookingId), nullable=False),
        sa.Column("event_id", IdentifierNumber(ShowId), nullable=False),
        sa.Column("user_id", IdentifierText(UserId), nullable=False),
        sa.Column("hold_id", IdentifierText(HoldId), nullable=False),
        sa.Column("live_hold_id", IdentifierText(HoldId)),
        sa.Column("is_own_hold", sa.Boolean(), nullable=False),
        sa.Column("status", ExactText(10), nullable=False),
        sa.Column("places", Payload, nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("discount_minor", sa.BigInteger(), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("payment_method", sa.String(100)),
        sa.Column("payment_id", IdentifierText(PaymentId)),
        sa.Column("failure_reason", ExactText(64)),
        sa.Column("failure_detail", sa.String(500)),
        sa.Column("cancel_requested_at", Instant()),
        sa.Column("cancellation_reason", sa.String(500)),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("confirmed_at", Instant()),
        sa.Column("cancelled_at", Instant()),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("booking_id", name="pk_bookings"),
        sa.UniqueConstraint("live_hold_id", name="uq_bookings_live_hold_id"),
    )
    op.create_index("ix_bookings_user_id_booking_id", "bookings", ["user_id", "booking_id"])
    op.create_index("ix_bookings_event_id_booking_id", "bookings", ["event_id", "booking_id"])
    op.create_index("ix_bookings_hold_id", "bookings", ["hold_id"])
    op.create_table(
        "shows",
        sa.Column("event_id", IdentifierNumber(ShowId), nullable=False, autoincrement=False),
        sa.Column("event_revision", sa.Integer(), nullable=False),
        sa.Column("status", ExactText(12), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("cancellable_until", Instant(), nullable=False),
        sa.Column("refund_percent", sa.Integer(), nullable=False),
        sa.Column("full_refund_until", Instant()),
        sa.PrimaryKeyConstraint("event_id", name="pk_shows"),
    )


def downgrade() -> None:
    op.drop_table("shows")
    op.drop_table("bookings")
