"""Accounts, sessions, tokens, roles, keys and the audit log."""

import sqlalchemy as sa
from alembic import op

from portico.kit.data import ExactText, IdentifierText, Instant, LongText, Payload, Sequence

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("audit_id", IdentifierText(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("action", ExactText(48), nullable=False),
        sa.Column("actor", ExactText(80)),
        sa.Column("user_id", ExactText(48)),
        sa.Column("address", ExactText(64)),
        sa.Column("details", Payload, nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_action", "audit_log", ["action"])
    op.create_index("ix_audit_log_user_id", "audit_log", ["user_id"])
    op.create_table(
        "singletons",
        sa.Column("name", ExactText(40), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_singletons"),
    )
    op.create_table(
        "revocations",
        sa.Column("number", Sequence, autoincrement=True, nullable=False),
        sa.Column("kind", ExactText(16), nullable=False),
        sa.Column("subject", ExactText(48), nullable=False),
        sa.Column("issued_before", Instant()),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("position", Sequence),
        sa.PrimaryKeyConstraint("number", name="pk_revocations"),
    )
    op.create_index("ix_revocations_expires_at", "revocations", ["expires_at"])
    op.create_index("ix_revocations_position", "revocations", ["position"])
    op.create_index("ix_revocations_subject", "revocations", ["subject"])
    op.create_table(
        "roles",
        sa.Column("name", ExactText(64), nullable=False),
        sa.Column("permissions", Payload, nullable=False),
        sa.Column("declared", sa.Boolean(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_roles"),
    )
    op.create_table(
        "sign_in_throttles",
        sa.Column("key", ExactText(64), nullable=False),
        sa.Column("failures", Payload, nullable=False),
        sa.Column("locked_until", Instant()),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_sign_in_throttles"),
    )
    op.create_index("ix_sign_in_throttles_changed_at", "sign_in_throttles", ["changed_at"])
    op.create_table(
        "signing_keys",
        sa.Column("kid", ExactText(64), nullable=False),
        sa.Column("algorithm", ExactText(16), nullable=False),
        sa.Column("public", Payload, nullable=False),
        sa.Column("encrypted", LongText, nullable=False),
        sa.Column("signs_from", Instant(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_keys"),
    )
    op.create_table(
        "users",
        sa.Column("user_id", IdentifierText(), nullable=False),
        sa.Column("email", sa.String(320)),
        sa.Column("email_key", ExactText(320)),
        sa.Column("password_hash", sa.String(255)),
        sa.Column("name", sa.String(511)),
        sa.Column("first_name", sa.String(255)),
        sa.Column("last_name", sa.String(255)),
        sa.Column("phone", sa.String(40)),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("tokens_valid_from", Instant(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("deleted_at", Instant()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_users"),
        sa.UniqueConstraint("email_key", name="uq_users_email_key"),
    )
    op.create_table(
        "memberships",
        sa.Column("user_id", IdentifierText(), nullable=False),
        sa.Column("role", ExactText(64), nullable=False),
        sa.ForeignKeyConstraint(["role"], ["roles.name"], name="fk_memberships_role"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_memberships_user_id"),
        sa.PrimaryKeyConstraint("user_id", "role", name="pk_memberships"),
    )
    op.create_index("ix_memberships_role", "memberships", ["role"])
    op.create_table(
        "sessions",
        sa.Column("session_id", IdentifierText(), nullable=False),
        sa.Column("user_id", IdentifierText(), nullable=False),
        sa.Column("device", sa.String(255), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("last_used_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("tokens_expire_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant()),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_sessions_user_id"),
        sa.PrimaryKeyConstraint("session_id", name="pk_sessions"),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", ExactText(64), nullable=False),
        sa.Column("session_id", IdentifierText(), nullable=False),
        sa.Column("issued_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("used_at", Instant()),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"], name="fk_refresh_tokens_session_id"),
        sa.PrimaryKeyConstraint("digest", name="pk_refresh_tokens"),
    )
    op.create_index("ix_refresh_tokens_expires_at", "refresh_tokens", ["expires_at"])
    op.create_index("ix_refresh_tokens_session_id", "refresh_tokens", ["session_id"])
    op.create_table(
        "tickets",
        sa.Column("digest", ExactText(64), nullable=False),
        sa.Column("session_id", IdentifierText(), nullable=False),
        sa.Column("token_expires_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"], name="fk_tickets_session_id"),
        sa.PrimaryKeyConstraint("digest", name="pk_tickets"),
    )
    op.create_index("ix_tickets_expires_at", "tickets", ["expires_at"])

    singletons = sa.table("singletons", sa.column("name"), sa.column("number"))
    op.bulk_insert(
        singletons, [{"name": name, "number": 0} for name in ("administrators", "revocation-feed", "signing-keys")]
    )


def downgrade() -> None:
    op.drop_table("tickets")
    op.drop_table("refresh_tokens")
    op.drop_table("sessions")
    op.drop_table("memberships")
    op.drop_table("users")
    op.drop_table("signing_keys")
    op.drop_table("sign_in_throttles")
    op.drop_table("roles")
    op.drop_table("revocations")
    op.drop_table("singletons")
    op.drop_table("audit_log")
