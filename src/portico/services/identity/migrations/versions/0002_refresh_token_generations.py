"""Refresh tokens know their generation. The unused tokens of an existing session are one generation after its used ones."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ZERO = sa.text("0")


def upgrade() -> None:
    op.add_column("refresh_tokens", sa.Column("generation", sa.Integer(), nullable=False, server_default=_ZERO))
    op.add_column("refresh_tokens", sa.Column("successors", sa.Integer(), nullable=False, server_default=_ZERO))
    op.execute("UPDATE refresh_tokens SET generation = 1 WHERE used_at IS NULL")
    op.execute("UPDATE refresh_tokens SET successors = 1 WHERE used_at IS NOT NULL")


def downgrade() -> None:
    op.drop_column("refresh_tokens", "successors")
    op.drop_column("refresh_tokens", "generation")
