"""Codes, and the code that a hold was taken with."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.events import ShowId
from portico.kit.data import ExactText, IdentifierNumber, Instant

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "codes",
        sa.Column("show_id", IdentifierNumber(ShowId), autoincrement=False, nullable=False),
        sa.Column("code_key", ExactText(40), nullable=False),
        sa.Column("code", ExactText(40), nullable=False),
        sa.Column("kind", ExactText(8), nullable=False),
        sa.Column("percent_off", sa.Integer(), nullable=False),
        sa.Column("amount_off", sa.BigInteger(), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("max_seats", sa.Integer()),
        sa.Column("used_seats", sa.Integer(), nullable=False),
        sa.Column("valid_from", Instant()),
        sa.Column("valid_until", Instant()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("show_id", "code_key", name="pk_codes"),
    )
    op.add_column("holds", sa.Column("code_key", ExactText(40)))


def downgrade() -> None:
    op.drop_column("holds", "code_key")
    op.drop_table("codes")
