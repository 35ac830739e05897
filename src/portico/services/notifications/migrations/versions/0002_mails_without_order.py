"""Notifications that are not about an order."""

from alembic import op

from portico.contracts.orders import OrderId
from portico.kit.data import IdentifierText

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _alter_order_id(nullable=True)


def downgrade() -> None:
    op.execute(
        "DELETE FROM attempts WHERE notification_id IN (SELECT notification_id FROM notifications WHERE order_id IS NULL)"
    )
    op.execute("DELETE FROM notifications WHERE order_id IS NULL")
    _alter_order_id(nullable=False)


def _alter_order_id(*, nullable: bool) -> None:
    # SQLite changes a column by creating the table again, and cannot drop a table while rows refer to its rows.
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        op.execute("CREATE TABLE attempts_meanwhile AS SELECT * FROM attempts")
        op.execute("DELETE FROM attempts")
    with op.batch_alter_table("notifications") as table:
        table.alter_column("order_id", existing_type=IdentifierText(OrderId), nullable=nullable)
    if is_sqlite:
        op.execute("INSERT INTO attempts SELECT * FROM attempts_meanwhile")
        op.drop_table("attempts_meanwhile")
