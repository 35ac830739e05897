"""What other services may know of orders."""

from portico.kit.ids import Identifier


class OrderId(Identifier, prefix="ord"):
    """An order."""
