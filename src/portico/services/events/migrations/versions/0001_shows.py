"""Shows."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.events import ShowId
from portico.kit.data import ExactText, IdentifierNumber, Instant, LongText, Payload

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "shows",
        sa.Column("event_id", IdentifierNumber(ShowId), autoincrement=False, nullable=False),
        sa.Column("event_name", sa.String(255), nullable=False),
        sa.Column("event_date", Instant(), nullable=False),
        sa.Column("local_date", ExactText(10), nullable=False),
        sa.Column("venue_name", sa.String(255), nullable=False),
        sa.Column("venue_words", ExactText(1000), nullable=False),
        sa.Column("time_zone", ExactText(64), nullable=False),
        sa.Column("total_seats", sa.Integer(), nullable=False),
        sa.Column("sections_data", Payload, nullable=False),
        sa.Column("status", ExactText(12), nullable=False),
        sa.Column("sold_out_by_hand", sa.Boolean(), nullable=False),
        sa.Column("sale_start_time", Instant()),
        sa.Column("sale_ends_at", Instant()),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("description", LongText),
        sa.Column("category", sa.String(255)),
        sa.Column("category_key", ExactText(255)),
        sa.Column("max_seats_per_user", sa.Integer()),
        sa.Column("orphan_rule", ExactText(10), nullable=False),
        sa.Column("waiting_room", ExactText(10), nullable=False),
        sa.Column("refundable_until", Instant()),
        sa.Column("refund_percent", sa.Integer(), nullable=False),
        sa.Column("full_refund_until", Instant()),
        sa.Column("open_at", Instant()),
        sa.Column("complete_at", Instant()),
        sa.Column("is_exhausted", sa.Boolean(), nullable=False),
        sa.Column("exhausted_number", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_shows"),
    )
    op.create_table(
        "planned_changes",
        sa.Column("event_id", IdentifierNumber(ShowId), autoincrement=False, nullable=False),
        sa.Column("changes", Payload),
        sa.Column("planned_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_planned_changes"),
    )
    op.create_index("ix_planned_changes_planned_at", "planned_changes", ["planned_at"])
    for columns in (
        ["event_date", "event_id"],
        ["status", "event_date", "event_id"],
        ["category_key", "event_date", "event_id"],
        ["open_at"],
        ["complete_at"],
    ):
        op.create_index(f"ix_shows_{'_'.join(columns)}", "shows", columns)


def downgrade() -> None:
    op.drop_table("planned_changes")
    op.drop_table("shows")
