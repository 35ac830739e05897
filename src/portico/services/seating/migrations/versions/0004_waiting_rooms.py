"""Waiting rooms: queues, their entries and their ledgers."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.events import ShowId
from portico.contracts.seating import QueueId
from portico.kit import UserId
from portico.kit.data import ExactText, IdentifierNumber, IdentifierText, Instant

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "queues",
        sa.Column("show_id", IdentifierNumber(ShowId), autoincrement=False, nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("admitted_through", sa.BigInteger(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("shopping", sa.Integer(), nullable=False),
        sa.Column("rate", sa.BigInteger(), nullable=False),
        sa.Column("rated_at", Instant(), nullable=False),
        sa.Column("ledger_size", sa.BigInteger(), nullable=False),
        sa.Column("ledger_hash", ExactText(64), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("show_id", name="pk_queues"),
    )
    op.create_index("ix_queues_is_active_due_at", "queues", ["is_active", "due_at"])
    op.create_table(
        "queue_entries",
        sa.Column("show_id", IdentifierNumber(ShowId), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("queue_id", IdentifierText(QueueId), nullable=False),
        sa.Column("user_id", IdentifierText(UserId), nullable=False),
        sa.Column("status", ExactText(8), nullable=False),
        sa.Column("joined_at", Instant(), nullable=False),
        sa.Column("admitted_at", Instant()),
        sa.Column("admitted_until", Instant()),
        sa.PrimaryKeyConstraint("show_id", "number", name="pk_queue_entries"),
    )
    op.create_index("ix_queue_entries_show_id_user_id", "queue_entries", ["show_id", "user_id"])
    op.create_index("ix_queue_entries_show_id_status_number", "queue_entries", ["show_id", "status", "number"])
    op.create_table(
        "queue_ledger",
        sa.Column("show_id", IdentifierNumber(ShowId), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("joined_at", Instant(), nullable=False),
        sa.Column("admitted_at", Instant()),
        sa.Column("left_at", Instant()),
        sa.Column("hash", ExactText(64), nullable=False),
        sa.PrimaryKeyConstraint("show_id", "sequence", name="pk_queue_ledger"),
    )


def downgrade() -> None:
    for table in ("queue_ledger", "queue_entries", "queues"):
        op.drop_table(table)
