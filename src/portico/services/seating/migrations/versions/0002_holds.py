"""Holds."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import UserId
from portico.kit.data import ExactText, IdentifierNumber, IdentifierText, Instant, Payload

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "holds",
        sa.Column("hold_id", IdentifierText(HoldId), nullable=False),
        sa.Column("show_id", IdentifierNumber(ShowId), nullable=False),
        sa.Column("user_id", IdentifierText(UserId), nullable=False),
        sa.Column("status", ExactText(8), nullable=False),
        sa.Column("places", Payload, nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("discount", sa.BigInteger(), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("is_adjacent", sa.Boolean(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("booking_id", ExactText()),
        sa.Column("return_keys", Payload, nullable=False),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hold_id", name="pk_holds"),
    )
    op.create_index("ix_holds_show_id_user_id", "holds", ["show_id", "user_id"])
    op.create_index("ix_holds_status_expires_at", "holds", ["status", "expires_at"])


def downgrade() -> None:
    op.drop_table("holds")
