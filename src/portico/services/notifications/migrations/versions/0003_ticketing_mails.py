"""Mails of ticketing: about bookings, and to addresses without a user; what they say about shows."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.bookings import BookingId
from portico.contracts.events import ShowId
from portico.kit import EventId, UserId
from portico.kit.data import IdentifierNumber, IdentifierText, Instant, LongText

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "shows",
        sa.Column("event_id", IdentifierNumber(ShowId), nullable=False, autoincrement=False),
        sa.Column("show_revision", sa.Integer(), nullable=False),
        sa.Column("event_name", LongText, nullable=False),
        sa.Column("event_date", Instant(), nullable=False),
        sa.Column("time_zone", sa.String(100), nullable=False),
        sa.Column("venue_name", LongText, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_shows"),
    )
    attempts = _set_attempts_aside()
    with op.batch_alter_table("notifications") as table:
        table.alter_column("user_id", existing_type=IdentifierText(UserId), nullable=True)
        table.add_column(sa.Column("address", sa.String(320)))
        table.add_column(sa.Column("booking_id", IdentifierText(BookingId)))
        table.add_column(sa.Column("cause", IdentifierText(EventId)))
        table.create_unique_constraint("uq_notifications_cause_template", ["cause", "template"])
    if attempts:
        _restore_attempts()
    op.create_index("ix_notifications_booking_id_notification_id", "notifications", ["booking_id", "notification_id"])


def downgrade() -> None:
    gone = "SELECT notification_id FROM notifications WHERE user_id IS NULL"
    op.execute(f"DELETE FROM attempts WHERE notification_id IN ({gone})")  # noqa: S608  # constant
    op.execute("DELETE FROM notifications WHERE user_id IS NULL")
    op.drop_index("ix_notifications_booking_id_notification_id", "notifications")
    attempts = _set_attempts_aside()
    with op.batch_alter_table("notifications") as table:
        table.drop_constraint("uq_notifications_cause_template", type_="unique")
        table.drop_column("cause")
        table.drop_column("booking_id")
        table.drop_column("address")
        table.alter_column("user_id", existing_type=IdentifierText(UserId), nullable=False)
    if attempts:
        _restore_attempts()
    op.drop_table("shows")


def _set_attempts_aside() -> bool:
    """Empty the table of attempts where that is necessary, and return whether it is.

    SQLite changes a column by creating the table again, and cannot drop a table while rows refer to its rows.
    """
    if op.get_bind().dialect.name != "sqlite":
        return False
    op.execute("CREATE TABLE attempts_meanwhile AS SELECT * FROM attempts")
    op.execute("DELETE FROM attempts")
    return True


def _restore_attempts() -> None:
    op.execute("INSERT INTO attempts SELECT * FROM attempts_meanwhile")
    op.drop_table("attempts_meanwhile")
