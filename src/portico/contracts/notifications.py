"""What other services may know of notifications."""

from collections.abc import Collection, Mapping

from portico.contracts.orders import OrderStatus
from portico.kit import Identifier


class NotificationId(Identifier, prefix="ntf"):
    """A notification to one person."""


MAILS_OF_AN_ORDER: Mapping[str, Collection[OrderStatus]] = {
    "order-confirmed": {"confirmed", "shipped", "delivered", "returned"},
    "order-shipped": {"shipped", "delivered", "returned"},
    "order-cancelled": {"cancelled"},
}
"""Which mails, by their templates, an order must have brought that stands so."""
