"""Open sessions of a user are found without reading its ended ones."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index("ix_sessions_user_id_ended_at_session_id", "sessions", ["user_id", "ended_at", "session_id"])
    op.create_index("ix_sessions_user_id_tokens_expire_at", "sessions", ["user_id", "tokens_expire_at"])
    op.drop_index("ix_sessions_user_id", "sessions")  # last: MariaDB needs an index for the foreign key


def downgrade() -> None:
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.drop_index("ix_sessions_user_id_tokens_expire_at", "sessions")
    op.drop_index("ix_sessions_user_id_ended_at_session_id", "sessions")
