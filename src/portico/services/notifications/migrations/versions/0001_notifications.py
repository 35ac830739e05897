"""Recipients, notifications, and the evidence of each attempt."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId
from portico.kit import UserId
from portico.kit.data import ExactText, IdentifierText, Instant, Payload
from portico.services.notifications.mail import MailId

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "recipients",
        sa.Column("user_id", IdentifierText(UserId), nullable=False),
        sa.Column("email", sa.String(320)),
        sa.Column("name", sa.String(600)),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("deleted_at", Instant()),
        sa.PrimaryKeyConstraint("user_id", name="pk_recipients"),
    )
    op.create_table(
        "notifications",
        sa.Column("notification_id", IdentifierText(NotificationId), nullable=False),
        sa.Column("user_id", IdentifierText(UserId), nullable=False),
        sa.Column("channel", ExactText(20), nullable=False),
        sa.Column("template", ExactText(60), nullable=False),
        sa.Column("template_version", sa.Integer(), nullable=False),
        sa.Column("order_id", IdentifierText(OrderId), nullable=False),
        sa.Column("data", Payload, nullable=False),
        sa.Column("mail_id", IdentifierText(MailId), nullable=False),
        sa.Column("status", ExactText(12), nullable=False),
        sa.Column("failure_reason", ExactText(40)),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant()),
        sa.Column("waits_since", Instant(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("sent_at", Instant()),
        sa.Column("trace", sa.String(64)),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("notification_id", name="pk_notifications"),
        sa.UniqueConstraint("order_id", "template", name="uq_notifications_order_id_template"),
    )
    for columns in (["due_at"], ["created_at"], ["user_id", "notification_id"], ["status", "notification_id"]):
        op.create_index(f"ix_notifications_{'_'.join(columns)}", "notifications", columns)
    op.create_table(
        "attempts",
        sa.Column("notification_id", IdentifierText(NotificationId), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("recipient", sa.String(320)),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant()),
        sa.Column("outcome", ExactText(12), nullable=False),
        sa.Column("answer", sa.String(500)),
        sa.PrimaryKeyConstraint("notification_id", "number", name="pk_attempts"),
        sa.ForeignKeyConstraint(
            ["notification_id"], ["notifications.notification_id"], name="fk_attempts_notification_id"
        ),
    )


def downgrade() -> None:
    op.drop_table("attempts")
    op.drop_table("notifications")
    op.drop_table("recipients")
