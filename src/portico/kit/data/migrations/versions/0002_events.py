"""Events: outbox, event log, inbox, failed events."""

import sqlalchemy as sa
from alembic import op

from portico.kit.data.types import ExactText, Instant, LongText, Sequence

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", Sequence, autoincrement=True, nullable=False),
        sa.Column("event_id", ExactText(48), nullable=False),
        sa.Column("type", ExactText(100), nullable=False),
        sa.Column("aggregate", ExactText(100), nullable=False),
        sa.Column("body", LongText, nullable=False),
        sa.Column("occurred_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "blocked_aggregates",
        sa.Column("aggregate", ExactText(100), nullable=False),
        sa.Column("event_id", ExactText(48), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", LongText, nullable=False),
        sa.PrimaryKeyConstraint("aggregate", name="pk_blocked_aggregates"),
    )
    _create_event_log()
    _create_inbox()


def _create_event_log() -> None:
    op.create_table(
        "event_log",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", ExactText(48), nullable=False),
        sa.Column("type", ExactText(100), nullable=False),
        sa.Column("aggregate", ExactText(100), nullable=False),
        sa.Column("body", LongText, nullable=False),
        sa.Column("occurred_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event_log"),
    )
    op.create_index("ix_event_log_occurred_at", "event_log", ["occurred_at"])
    op.create_index("ix_event_log_aggregate_id", "event_log", ["aggregate", "id"])


def _create_inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("consumer", ExactText(100), nullable=False),
        sa.Column("event_id", ExactText(255), nullable=False),
        sa.Column("handled_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "event_id", name="pk_inbox"),
    )
    op.create_index("ix_inbox_handled_at", "inbox", ["handled_at"])
    op.create_table(
        "failed_events",
        sa.Column("id", Sequence, autoincrement=True, nullable=False),
        sa.Column("kind", ExactText(16), nullable=False),
        sa.Column("consumer", ExactText(100), nullable=False),
        sa.Column("event_id", ExactText(255), nullable=False),
        sa.Column("type", ExactText(100), nullable=False),
        sa.Column("aggregate", ExactText(255), nullable=False),
        sa.Column("body", LongText, nullable=False),
        sa.Column("state", ExactText(10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", Instant(), nullable=False),
        sa.Column("cause", ExactText(100), nullable=False),
        sa.Column("error", LongText, nullable=False),
        sa.Column("failed_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_failed_events"),
        sa.UniqueConstraint("kind", "consumer", "event_id", name="uq_failed_events_kind_consumer_event_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_failed_events_consumer_state_aggregate_id", "failed_events", ["consumer", "state", "aggregate", "id"]
    )
    op.create_index("ix_failed_events_state_next_at", "failed_events", ["state", "next_at"])


def downgrade() -> None:
    for table in ("failed_events", "inbox", "event_log", "blocked_aggregates", "outbox"):
        op.drop_table(table)
