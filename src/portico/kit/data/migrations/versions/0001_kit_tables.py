"""The kit's own tables: idempotency keys and leases."""

import sqlalchemy as sa
from alembic import op

from portico.kit.data.types import ExactText, Instant, LongText, Payload

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("key", ExactText(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("claimed_at", Instant(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", Payload),
        sa.Column("body", LongText),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_claimed_at", "idempotency_keys", ["claimed_at"])
    op.create_table(
        "leases",
        sa.Column("name", ExactText(100), nullable=False),
        sa.Column("owner", ExactText(64), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )


def downgrade() -> None:
    op.drop_table("leases")
    op.drop_table("idempotency_keys")
