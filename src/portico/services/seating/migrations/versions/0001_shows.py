"""Shows, their sections, the states of their seats, and the journal of changes."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.events import ShowId
from portico.kit.data import ExactText, IdentifierNumber, Instant, Payload

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "shows",
        sa.Column("show_id", IdentifierNumber(ShowId), autoincrement=False, nullable=False),
        sa.Column("event_revision", sa.Integer(), nullable=False),
        sa.Column("layout_revision", sa.Integer(), nullable=False),
        sa.Column("is_closed", sa.Boolean(), nullable=False),
        sa.Column("status", ExactText(12), nullable=False),
        sa.Column("sold_out_by_hand", sa.Boolean(), nullable=False),
        sa.Column("sale_starts_at", Instant()),
        sa.Column("sale_ends_at", Instant()),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("max_seats_per_user", sa.Integer()),
        sa.Column("orphan_rule", ExactText(8), nullable=False),
        sa.Column("waiting_room", ExactText(8), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("layout_version", sa.BigInteger(), nullable=False),
        sa.Column("is_exhausted", sa.Boolean(), nullable=False),
        sa.Column("exhaustion_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("show_id", name="pk_shows"),
    )
    op.create_table(
        "sections",
        sa.Column("show_id", IdentifierNumber(ShowId), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("seats_per_row", sa.Integer(), nullable=False),
        sa.Column("accessible", Payload, nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("sold", sa.Integer(), nullable=False),
        sa.Column("blocked", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("show_id", "number", name="pk_sections"),
    )
    op.create_table(
        "seat_blocks",
        sa.Column("show_id", IdentifierNumber(ShowId), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("states", sa.LargeBinary(1_000), nullable=False),
        sa.PrimaryKeyConstraint("show_id", "number", name="pk_seat_blocks"),
    )
    op.create_table(
        "seat_changes",
        sa.Column("show_id", IdentifierNumber(ShowId), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("changes", Payload, nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("show_id", "version", "part", name="pk_seat_changes"),
    )
    op.create_index("ix_seat_changes_show_id_part_version", "seat_changes", ["show_id", "part", "version"])


def downgrade() -> None:
    for table in ("seat_changes", "seat_blocks", "sections", "shows"):
        op.drop_table(table)
