"""Which event is told of to whom, by which template."""

from dataclasses import dataclass

from portico.contracts.orders import OrderCancelled, OrderStatus, OrderUpdated

AboutOrder = OrderUpdated | OrderCancelled


@dataclass(frozen=True, slots=True)
class Rule:
    """The one whose order it is gets a mail by `template` when the order comes to stand so."""

    event: type[AboutOrder]
    status: OrderStatus
    template: str


RULES = (
    Rule(OrderUpdated, "confirmed", "order-confirmed"),
    Rule(OrderUpdated, "shipped", "order-shipped"),
    Rule(OrderCancelled, "cancelled", "order-cancelled"),
)


def template_for(event: AboutOrder) -> str | None:
    """The template by which `event` is told of; None where nobody is told."""
    for rule in RULES:
        if rule.event is type(event) and rule.status == event.status:
            return rule.template
    return None
