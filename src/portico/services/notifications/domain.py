"""Which event is told of to whom, by which template."""

from dataclasses import dataclass

from portico.contracts.orders import OrderCancelled, OrderStatus, OrderUpdated

AboutOrder = OrderUpdated | OrderCancelled


@dataclass(frozen=True, slots=True)
class Rule:
    """The one whose order it is gets a mail by `template` on such an event; only of orders that stand so with `status`."""

    event: type[AboutOrder]
    template: str
    status: OrderStatus | None = None


RULES = (
    Rule(OrderUpdated, "order-confirmed", status="confirmed"),
    Rule(OrderUpdated, "order-shipped", status="shipped"),
    Rule(OrderCancelled, "order-cancelled"),
)


def template_for(event: AboutOrder) -> str | None:
    """The template by which `event` is told of; None where nobody is told."""
    for rule in RULES:
        if rule.event is type(event) and rule.status in {None, event.status}:
            return rule.template
    return None
