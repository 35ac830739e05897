"""Tokens that users receive by mail, requests for such mails, and whether an email address is verified."""

import sqlalchemy as sa
from alembic import op

from portico.kit.data import ExactText, IdentifierText, Instant

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("users", sa.Column("email_verified_at", Instant()))
    op.create_table(
        "mail_requests",
        sa.Column("purpose", ExactText(24), nullable=False),
        sa.Column("email_key", ExactText(320), nullable=False),
        sa.Column("requested_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("purpose", "email_key", name="pk_mail_requests"),
    )
    op.create_table(
        "mailed_tokens",
        sa.Column("digest", ExactText(64), nullable=False),
        sa.Column("purpose", ExactText(24), nullable=False),
        sa.Column("user_id", IdentifierText(), nullable=False),
        sa.Column("email_key", ExactText(320), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_mailed_tokens_user_id"),
        sa.PrimaryKeyConstraint("digest", name="pk_mailed_tokens"),
    )
    op.create_index("ix_mailed_tokens_expires_at", "mailed_tokens", ["expires_at"])
    op.create_index("ix_mailed_tokens_user_id", "mailed_tokens", ["user_id"])


def downgrade() -> None:
    op.drop_table("mailed_tokens")
    op.drop_table("mail_requests")
    op.drop_column("users", "email_verified_at")
