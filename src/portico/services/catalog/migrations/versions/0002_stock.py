"""Stock: levels, their ledger, and reservations. What products say of their stock becomes the first receipts."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.catalog import ProductId, ReservationId
from portico.kit.data import ExactText, IdentifierText, Instant
from portico.services.catalog.stock.domain import TransactionId

revision = "0002"
down_revision = "0001"

_NO_ENTRIES = sa.text("0")


def upgrade() -> None:
    op.add_column("products", sa.Column("stock_entries", sa.Integer(), nullable=False, server_default=_NO_ENTRIES))
    op.create_table(
        "stock_levels",
        sa.Column("product_id", IdentifierText(ProductId), nullable=False),
        sa.Column("on_hand", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("closed_at", Instant()),
        sa.PrimaryKeyConstraint("product_id", name="pk_stock_levels"),
        sa.CheckConstraint("reserved >= 0 AND reserved <= on_hand", name="ck_stock_levels_never_short"),
    )
    op.create_table(
        "stock_transactions",
        sa.Column("product_id", IdentifierText(ProductId), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("transaction_id", IdentifierText(TransactionId), nullable=False),
        sa.Column("kind", ExactText(12), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("on_hand_after", sa.BigInteger(), nullable=False),
        sa.Column("reserved_after", sa.BigInteger(), nullable=False),
        sa.Column("reference", ExactText(48)),
        sa.Column("actor", ExactText(100), nullable=False),
        sa.Column("reason", sa.String(100)),
        sa.Column("note", sa.String(500)),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("product_id", "number", name="pk_stock_transactions"),
        sa.CheckConstraint(
            "reserved_after >= 0 AND reserved_after <= on_hand_after", name="ck_stock_transactions_never_short"
        ),
    )
    op.create_index(
        "ix_stock_transactions_product_id_created_at_number",
        "stock_transactions",
        ["product_id", "created_at", "number"],
    )
    op.create_table(
        "stock_reservations",
        sa.Column("reservation_id", IdentifierText(ReservationId), nullable=False),
        sa.Column("status", ExactText(12), nullable=False),
        sa.Column("expires_at", Instant()),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("reservation_id", name="pk_stock_reservations"),
    )
    op.create_index("ix_stock_reservations_status_expires_at", "stock_reservations", ["status", "expires_at"])
    op.create_table(
        "stock_reservation_items",
        sa.Column("reservation_id", IdentifierText(ReservationId), nullable=False),
        sa.Column("product_id", IdentifierText(ProductId), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("reservation_id", "product_id", name="pk_stock_reservation_items"),
        sa.ForeignKeyConstraint(
            ["reservation_id"],
            ["stock_reservations.reservation_id"],
            name="fk_stock_reservation_items_reservation_id_stock_reservations",
        ),
    )
    _receive_what_there_is()


def _receive_what_there_is() -> None:
    """A level for each product, and the first entry of those of which there is something."""
    names = ("product_id", "stock_quantity", "created_at", "updated_at", "on_hand", "reserved", "entries", "number",
             "transaction_id", "kind", "quantity", "on_hand_after", "reserved_after", "actor", "stock_entries")  # fmt: skip
    products, levels, ledger = (
        sa.table(name, *map(sa.column, names)) for name in ("products", "stock_levels", "stock_transactions")
    )
    there, at = products.c.stock_quantity, products.c.created_at
    some = sa.case((there > 0, 1), else_=0)
    level = sa.select(products.c.product_id, there, sa.literal(0), some, at)
    op.execute(levels.insert().from_select(["product_id", "on_hand", "reserved", "entries", "updated_at"], level))
    after_prefix = sa.func.substr(sa.cast(products.c.product_id, sa.String(48)), len(ProductId.prefix) + 1)
    entry = sa.select(
        products.c.product_id,
        sa.literal(1),
        sa.literal(TransactionId.prefix, sa.String(8)) + after_prefix,
        sa.literal("receipt"),
        there,
        there,
        sa.literal(0),
        sa.literal("migration"),
        at,
    ).where(there > 0)
    columns = ["product_id", "number", "transaction_id", "kind", "quantity", "on_hand_after", "reserved_after", "actor", "created_at"]  # fmt: skip
    op.execute(ledger.insert().from_select(columns, entry))
    op.execute(products.update().where(there > 0).values(stock_entries=1))


def downgrade() -> None:
    op.drop_table("stock_reservation_items")
    op.drop_table("stock_reservations")
    op.drop_table("stock_transactions")
    op.drop_table("stock_levels")
    op.drop_column("products", "stock_entries")
