"""Check-ins."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.bookings import CheckInId, TicketId
from portico.contracts.events import ShowId
from portico.kit.data import ExactText, IdentifierNumber, IdentifierText, Instant

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "check_ins",
        sa.Column("check_in_id", IdentifierText(CheckInId), nullable=False),
        sa.Column("ticket_id", IdentifierText(TicketId), nullable=False),
        sa.Column("event_id", IdentifierNumber(ShowId), nullable=False),
        sa.Column("serial", ExactText(22), nullable=False),
        sa.Column("scan_id", ExactText(64)),
        sa.Column("gate", sa.String(64)),
        sa.Column("status", ExactText(10), nullable=False),
        sa.Column("checked_in_at", Instant(), nullable=False),
        sa.Column("checked_in_by", ExactText(), nullable=False),
        sa.Column("superseded_by", IdentifierText(CheckInId)),
        sa.Column("undone_at", Instant()),
        sa.Column("undone_by", ExactText()),
        sa.Column("undo_reason", sa.String(500)),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name="fk_check_ins_ticket_id"),
        sa.PrimaryKeyConstraint("check_in_id", name="pk_check_ins"),
        sa.UniqueConstraint("event_id", "scan_id", name="uq_check_ins_event_id_scan_id"),
    )
    op.create_index("ix_check_ins_ticket_id_status", "check_ins", ["ticket_id", "status"])
    op.create_index("ix_check_ins_event_id_check_in_id", "check_ins", ["event_id", "check_in_id"])
    op.create_index(
        "ix_check_ins_event_id_changed_at_check_in_id", "check_ins", ["event_id", "changed_at", "check_in_id"]
    )


def downgrade() -> None:
    op.drop_table("check_ins")
