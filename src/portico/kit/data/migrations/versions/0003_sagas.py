"""Sagas and their steps."""

import sqlalchemy as sa
from alembic import op

from portico.kit.data.types import ExactText, IdentifierText, Instant, LongText, Sequence

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "sagas",
        sa.Column("saga_id", IdentifierText(), nullable=False),
        sa.Column("name", ExactText(64), nullable=False),
        sa.Column("subject", ExactText(64), nullable=False),
        sa.Column("state", LongText, nullable=False),
        sa.Column("status", ExactText(8), nullable=False),
        sa.Column("step", ExactText(64), nullable=False),
        sa.Column("done", sa.String(1000), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("in_doubt", sa.Boolean(), nullable=False),
        sa.Column("skip", sa.Boolean(), nullable=False),
        sa.Column("undo_reason", LongText),
        sa.Column("error", sa.String(500)),
        sa.Column("owner", ExactText(32)),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant()),
        sa.Column("step_started_at", Instant()),
        sa.Column("deadline_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant()),
        sa.Column("trace", sa.String(64)),
        sa.Column("request_id", sa.String(128)),
        sa.PrimaryKeyConstraint("saga_id", name="pk_sagas"),
    )
    op.create_index("ix_sagas_due_at", "sagas", ["due_at"])
    op.create_index("ix_sagas_subject", "sagas", ["subject"])
    op.create_index("ix_sagas_ended_at", "sagas", ["ended_at"])
    op.create_table(
        "saga_steps",
        sa.Column("entry_id", Sequence, autoincrement=True, nullable=False),
        sa.Column("saga_id", IdentifierText(), nullable=False),
        sa.Column("step", ExactText(64), nullable=False),
        sa.Column("action", ExactText(8), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", ExactText(20), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=False),
        sa.Column("error", sa.String(500)),
        sa.Column("actor", ExactText(64)),
        sa.PrimaryKeyConstraint("entry_id", name="pk_saga_steps"),
    )
    op.create_index("ix_saga_steps_saga_id", "saga_steps", ["saga_id"])


def downgrade() -> None:
    op.drop_table("saga_steps")
    op.drop_table("sagas")
