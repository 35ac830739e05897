"""Ids of notifications, and the mails that each order status requires."""

from collections.abc import Collection, Mapping

from portico.contracts.orders import OrderStatus
from portico.kit import Identifier


class NotificationId(Identifier, prefix="ntf"):
    """Id of a notification to one recipient."""


ORDER_MAILS: Mapping[str, Collection[OrderStatus]] = {
    "order-confirmed": {"confirmed", "shipped", "delivered", "returned"},
    "order-shipped": {"shipped", "delivered", "returned"},
    "order-cancelled": {"cancelled"},
}
"""The order statuses by mail template: an order in one of them must have sent that mail."""
