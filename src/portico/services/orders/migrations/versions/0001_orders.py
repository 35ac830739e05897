"""Orders."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.orders import OrderId
from portico.kit import UserId
from portico.kit.data import ExactText, IdentifierText, Instant, Payload

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("order_id", IdentifierText(OrderId), nullable=False),
        sa.Column("user_id", IdentifierText(UserId), nullable=False),
        sa.Column("status", ExactText(10), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("lines", Payload, nullable=False),
        sa.Column("shipping_address", Payload, nullable=False),
        sa.Column("billing_address", Payload, nullable=False),
        sa.Column("payment_method", sa.String(100), nullable=False),
        sa.Column("failure_reason", ExactText(64)),
        sa.Column("failure_detail", sa.String(500)),
        sa.Column("cancel_requested_at", Instant()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name="pk_orders"),
    )
    op.create_index("ix_orders_user_id_order_id", "orders", ["user_id", "order_id"])
    op.create_index("ix_orders_status_order_id", "orders", ["status", "order_id"])


def downgrade() -> None:
    op.drop_table("orders")
