"""Waiting lists, and the offers to their entries."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId, WaitlistEntryId
from portico.kit import UserId
from portico.kit.data import ExactText, IdentifierNumber, IdentifierText, Instant

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("holds", sa.Column("entry_id", IdentifierText(WaitlistEntryId)))
    op.create_table(
        "waitlist_entries",
        sa.Column("entry_id", IdentifierText(WaitlistEntryId), nullable=False),
        sa.Column("show_id", IdentifierNumber(ShowId), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("user_id", IdentifierText(UserId), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("status", ExactText(8), nullable=False),
        sa.Column("hold_id", IdentifierText(HoldId)),
        sa.Column("joined_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("entry_id", name="pk_waitlist_entries"),
    )
    op.create_index("ix_waitlist_entries_show_id_number", "waitlist_entries", ["show_id", "number"], unique=True)
    op.create_index("ix_waitlist_entries_show_id_status_number", "waitlist_entries", ["show_id", "status", "number"])
    op.create_index("ix_waitlist_entries_show_id_user_id_number", "waitlist_entries", ["show_id", "user_id", "number"])


def downgrade() -> None:
    op.drop_table("waitlist_entries")
    op.drop_column("holds", "entry_id")
