"""Notifications that are not about an order."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.orders import OrderId
from portico.kit.data import IdentifierText

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("notifications") as table:
        table.alter_column("order_id", existing_type=IdentifierText(OrderId), nullable=True)


def downgrade() -> None:
    attempted = "SELECT notification_id FROM notifications WHERE order_id IS NULL"
    op.execute(sa.text(f"DELETE FROM attempts WHERE notification_id IN ({attempted})"))  # noqa: S608  a constant
    op.execute("DELETE FROM notifications WHERE order_id IS NULL")
    with op.batch_alter_table("notifications") as table:
        table.alter_column("order_id", existing_type=IdentifierText(OrderId), nullable=False)
