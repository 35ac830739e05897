"""Products, and the words by which they are found."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.catalog import ProductId
from portico.kit.data import ExactText, IdentifierText, Instant, LongText, Payload

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "products",
        sa.Column("product_id", IdentifierText(ProductId), nullable=False),
        sa.Column("sku", ExactText(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_order", ExactText(200), nullable=False),
        sa.Column("description", LongText, nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("price_order", sa.BigInteger(), nullable=False),
        sa.Column("currency", ExactText(3), nullable=False),
        sa.Column("category", ExactText(100), nullable=False),
        sa.Column("stock_quantity", sa.Integer(), nullable=False),
        sa.Column("in_stock", sa.Boolean(), sa.Computed("stock_quantity > 0", persisted=True)),
        sa.Column("attributes", Payload, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("product_id", name="pk_products"),
        sa.UniqueConstraint("sku", name="uq_products_sku"),
    )
    for columns in (
        ["category", "product_id"],
        ["category", "price_order", "product_id"],
        ["price_order", "product_id"],
        ["name_order", "product_id"],
        ["in_stock", "product_id"],
    ):
        op.create_index(f"ix_products_{'_'.join(columns)}", "products", columns)
    op.create_table(
        "product_words",
        sa.Column("word", ExactText(40), nullable=False),
        sa.Column("product_id", IdentifierText(ProductId), nullable=False),
        sa.PrimaryKeyConstraint("word", "product_id", name="pk_product_words"),
    )
    op.create_index("ix_product_words_product_id", "product_words", ["product_id"])
    if op.get_bind().dialect.name == "postgresql":
        # how common a word is decides the plan of a search: remember it of a thousand words in place of a hundred
        op.execute("ALTER TABLE product_words ALTER COLUMN word SET STATISTICS 1000")


def downgrade() -> None:
    op.drop_table("product_words")
    op.drop_table("products")
