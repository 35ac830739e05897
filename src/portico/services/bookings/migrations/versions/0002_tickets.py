"""Tickets, their keys, revoked codes, transfers, and names of holders."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.bookings import BookingId, TicketId, TransferId
from portico.contracts.events import ShowId
from portico.kit import UserId
from portico.kit.data import ExactText, IdentifierNumber, IdentifierText, Instant, LongText, Payload

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "ticket_keys",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("public", Payload, nullable=False),
        sa.Column("encrypted", LongText, nullable=False),
        sa.Column("signs_from", Instant(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_ticket_keys"),
    )
    op.create_table(
        "holders",
        sa.Column("user_id", IdentifierText(UserId), nullable=False),
        sa.Column("name", sa.String(255)),
        sa.Column("email_key", ExactText(320), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_holders"),
    )
    op.create_table(
        "tickets",
        sa.Column("ticket_id", IdentifierText(TicketId), nullable=False),
        sa.Column("booking_id", IdentifierText(BookingId), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("event_id", IdentifierNumber(ShowId), nullable=False),
        sa.Column("user_id", IdentifierText(UserId), nullable=False),
        sa.Column("section", sa.String(255), nullable=False),
        sa.Column("seat_id", ExactText(48)),
        sa.Column("serial", ExactText(22), nullable=False),
        sa.Column("status", ExactText(10), nullable=False),
        sa.Column("checked_in_at", Instant()),
        sa.Column("transferred_at", Instant()),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["booking_id"], ["bookings.booking_id"], name="fk_tickets_booking_id"),
        sa.PrimaryKeyConstraint("ticket_id", name="pk_tickets"),
        sa.UniqueConstraint("booking_id", "place", name="uq_tickets_booking_id_place"),
        sa.UniqueConstraint("serial", name="uq_tickets_serial"),
    )
    op.create_index("ix_tickets_user_id_ticket_id", "tickets", ["user_id", "ticket_id"])
    op.create_index("ix_tickets_event_id_ticket_id", "tickets", ["event_id", "ticket_id"])
    op.create_table(
        "revoked_codes",
        sa.Column("serial", ExactText(22), nullable=False),
        sa.Column("ticket_id", IdentifierText(TicketId), nullable=False),
        sa.Column("event_id", IdentifierNumber(ShowId), nullable=False),
        sa.Column("reason", ExactText(10), nullable=False),
        sa.Column("revoked_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name="fk_revoked_codes_ticket_id"),
        sa.PrimaryKeyConstraint("serial", name="pk_revoked_codes"),
    )
    op.create_index(
        "ix_revoked_codes_event_id_revoked_at_serial", "revoked_codes", ["event_id", "revoked_at", "serial"]
    )
    op.create_table(
        "transfers",
        sa.Column("transfer_id", IdentifierText(TransferId), nullable=False),
        sa.Column("ticket_id", IdentifierText(TicketId), nullable=False),
        sa.Column("from_user_id", IdentifierText(UserId), nullable=False),
        sa.Column("to_user_id", IdentifierText(UserId)),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("status", ExactText(10), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name="fk_transfers_ticket_id"),
        sa.PrimaryKeyConstraint("transfer_id", name="pk_transfers"),
    )
    op.create_index("ix_transfers_ticket_id_status", "transfers", ["ticket_id", "status"])
    op.create_index("ix_transfers_expires_at", "transfers", ["expires_at"])


def downgrade() -> None:
    for table in ("transfers", "revoked_codes", "tickets", "holders", "ticket_keys"):
        op.drop_table(table)
