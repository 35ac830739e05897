import sqlalchemy as sa
from alembic import op
from tests.examples.loans.ids import BookId, LoanId

from portico.kit import UserId
from portico.kit.data import IdentifierText, Instant

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "books",
        sa.Column("book_id", IdentifierText(BookId), nullable=False),
        sa.Column("title", sa.String(255), nullable=False),
        sa.Column("lent_until", Instant()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("book_id", name="pk_books"),
        sa.UniqueConstraint("title", name="uq_books_title"),
    )
    op.create_table(
        "loans",
        sa.Column("loan_id", IdentifierText(LoanId), nullable=False),
        sa.Column("book_id", IdentifierText(BookId), nullable=False),
        sa.Column("reader_id", IdentifierText(UserId), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("loan_id", name="pk_loans"),
    )
    op.create_index("ix_loans_book_id", "loans", ["book_id"])
    op.create_index("ix_loans_reader_id", "loans", ["reader_id"])
    op.create_table(
        "shelves",
        sa.Column("reader_id", IdentifierText(UserId), nullable=False),
        sa.PrimaryKeyConstraint("reader_id", name="pk_shelves"),
    )


def downgrade() -> None:
    op.drop_table("shelves")
    op.drop_table("loans")
    op.drop_table("books")
