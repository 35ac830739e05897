import sqlalchemy as sa
from alembic import op
from tests.examples.loans.ids import BookId, LendingId

from portico.kit import UserId
from portico.kit.data import IdentifierText

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "lendings",
        sa.Column("lending_id", IdentifierText(LendingId), nullable=False),
        sa.Column("book_id", IdentifierText(BookId), nullable=False),
        sa.Column("reader_id", IdentifierText(UserId), nullable=False),
        sa.Column("story", sa.String(255), nullable=False),
        sa.Column("charge_id", sa.String(255)),
        sa.Column("reason", sa.String(500)),
        sa.PrimaryKeyConstraint("lending_id", name="pk_lendings"),
    )


def downgrade() -> None:
    op.drop_table("lendings")
