"""Registered OAuth clients, authorization codes, consents, and sign-on in the browser."""

import sqlalchemy as sa
from alembic import op

from portico.kit.data import ExactText, IdentifierText, Instant, LongText, Payload

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "oauth_clients",
        sa.Column("client_id", IdentifierText(), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("secret_digest", ExactText(64)),
        sa.Column("redirect_uris", Payload, nullable=False),
        sa.Column("post_logout_redirect_uris", Payload, nullable=False),
        sa.Column("scope", Payload, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("deleted_at", Instant()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name="pk_oauth_clients"),
    )
    op.create_table(
        "oauth_consents",
        sa.Column("user_id", IdentifierText(), nullable=False),
        sa.Column("client_id", IdentifierText(), nullable=False),
        sa.Column("scope", Payload, nullable=False),
        sa.Column("granted_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_oauth_consents_user_id"),
        sa.ForeignKeyConstraint(["client_id"], ["oauth_clients.client_id"], name="fk_oauth_consents_client_id"),
        sa.PrimaryKeyConstraint("user_id", "client_id", name="pk_oauth_consents"),
    )
    op.create_table(
        "authorization_codes",
        sa.Column("digest", ExactText(64), nullable=False),
        sa.Column("client_id", IdentifierText(), nullable=False),
        sa.Column("user_id", IdentifierText(), nullable=False),
        sa.Column("browser_session_id", IdentifierText(), nullable=False),
        sa.Column("redirect_uri", LongText, nullable=False),
        sa.Column("challenge", ExactText(43), nullable=False),
        sa.Column("nonce", LongText),
        sa.Column("scope", Payload, nullable=False),
        sa.Column("authenticated_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("session_id", IdentifierText()),
        sa.ForeignKeyConstraint(["client_id"], ["oauth_clients.client_id"], name="fk_authorization_codes_client_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_authorization_codes_user_id"),
        sa.PrimaryKeyConstraint("digest", name="pk_authorization_codes"),
    )
    op.create_index("ix_authorization_codes_expires_at", "authorization_codes", ["expires_at"])
    op.create_table(
        "browser_secrets",
        sa.Column("digest", ExactText(64), nullable=False),
        sa.Column("session_id", IdentifierText(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"], name="fk_browser_secrets_session_id"),
        sa.PrimaryKeyConstraint("digest", name="pk_browser_secrets"),
    )
    op.create_index("ix_browser_secrets_expires_at", "browser_secrets", ["expires_at"])
    op.create_index("ix_browser_secrets_session_id", "browser_secrets", ["session_id"])
    op.add_column("sessions", sa.Column("client_id", ExactText(48)))
    op.add_column("sessions", sa.Column("scope", Payload))
    op.add_column("sessions", sa.Column("authenticated_at", Instant()))
    op.add_column("sessions", sa.Column("browser_session_id", IdentifierText()))
    op.create_index("ix_sessions_client_id", "sessions", ["client_id"])
    op.create_index("ix_sessions_browser_session_id", "sessions", ["browser_session_id"])


def downgrade() -> None:
    op.drop_index("ix_sessions_browser_session_id", "sessions")
    op.drop_index("ix_sessions_client_id", "sessions")
    for name in ("browser_session_id", "authenticated_at", "scope", "client_id"):
        op.drop_column("sessions", name)
    op.drop_table("browser_secrets")
    op.drop_table("authorization_codes")
    op.drop_table("oauth_consents")
    op.drop_table("oauth_clients")
