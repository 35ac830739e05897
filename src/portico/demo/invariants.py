"""The invariants of a walkthrough: orders, stock, payments and mails agree."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.contracts.notifications import ORDER_MAILS
from portico.contracts.orders import SOLD
from portico.shop_client import kept_amount

_UNSETTLED = {"pending", "reserved", "paid"}
_SHIPPED = {"shipped", "delivered"}


@dataclass(frozen=True)
class Stock:
    """The stock of a product: the loaded quantity, the level that the service returns, and its ledger."""

    product_id: str
    loaded: int
    level: Mapping[str, Any]
    ledger: Sequence[Mapping[str, Any]]

    @property
    def on_hand(self) -> int:
        """The sum of receipts, adjustments, shipments and returns."""
        return self._sum("receipt", "adjustment", "shipment", "return")

    @property
    def reserved(self) -> int:
        """The sum of reservations, releases and shipments."""
        return self._sum("reservation", "release", "shipment")

    def _sum(self, *kinds: str) -> int:
        return sum(entry["quantity"] for entry in self.ledger if entry["kind"] in kinds)


@dataclass(frozen=True)
class ShopRecords:
    """The data of all services after a walkthrough.

    Args:
        placed: the orders that were acknowledged to customers.
        orders: all orders of the same customers.
        stock: of each product that they could order.
        payments: for these orders.
        mails: about these orders.
        reconciled: the pages of `GET /ledger/reconcile`.
        dead_letters: events that could not be handled; None if they cannot be listed.
    """

    placed: Collection[str]
    orders: Sequence[Mapping[str, Any]]
    stock: Sequence[Stock]
    payments: Sequence[Mapping[str, Any]]
    mails: Sequence[Mapping[str, Any]]
    reconciled: Sequence[Mapping[str, Any]]
    dead_letters: Sequence[Mapping[str, Any]] | None = None

    def mismatches(self) -> list[str]:
        """Return all mismatches, each as a sentence."""
        letters = [f"an event is a dead letter: {letter}" for letter in self.dead_letters or ()]
        return [
            *self._order_mismatches(),
            *self.stock_mismatches(),
            *self.payment_mismatches(),
            *self.mail_mismatches(),
            *letters,
        ]

    def stock_mismatches(self) -> list[str]:
        """Return where stock levels, their ledgers and the orders differ."""
        return list(self._stock_mismatches())

    def payment_mismatches(self) -> list[str]:
        """Return where payments, the ledger and the orders differ."""
        return list(self._payment_mismatches())

    def mail_mismatches(self) -> list[str]:
        """Return mails that are missing, duplicate or not sent."""
        return list(self._mail_mismatches())

    def kept(self) -> dict[str, float]:
        """Return the amount kept of each order."""
        kept: defaultdict[str, float] = defaultdict(float)
        for payment in self.payments:
            kept[payment["order_id"]] += kept_amount(payment)
        return kept

    def sold_total(self) -> float:
        """Return the total of the sold orders."""
        return float(round(sum(order["total"] for order in self.orders if order["status"] in SOLD), 2))

    def _order_mismatches(self) -> Iterator[str]:
        known = {order["order_id"] for order in self.orders}
        for order_id in set(self.placed) - known:
            yield f"order {order_id} was placed and is missing"
        for order_id in known - set(self.placed):
            yield f"order {order_id} was created, and not acknowledged to a customer"
        for order in self.orders:
            if order["status"] in _UNSETTLED:
                yield f"order {order['order_id']} is still {order['status']}"

    def _stock_mismatches(self) -> Iterator[str]:
        held, gone = self._ordered({"confirmed"}), self._ordered(_SHIPPED)
        for each in self.stock:
            level, name = each.level, each.product_id
            if (level["on_hand"], level["reserved"]) != (each.on_hand, each.reserved):
                yield f"{name} has {level['on_hand']}/{level['reserved']}, its ledger {each.on_hand}/{each.reserved}"
            if not 0 <= level["reserved"] <= level["on_hand"]:
                yield f"{name} has {level['reserved']} reserved of {level['on_hand']}"
            if level["reserved"] != held[name]:
                yield f"{name} has {level['reserved']} reserved, and confirmed orders need {held[name]}"
            if level["on_hand"] != each.loaded - gone[name]:
                yield f"{name} has {level['on_hand']} of {each.loaded} on hand, and {gone[name]} were shipped"

    def _ordered(self, statuses: Collection[str]) -> Counter[str]:
        ordered: Counter[str] = Counter()
        for order in self.orders:
            if order["status"] in statuses:
                ordered.update({item["product_id"]: item["quantity"] for item in order["items"]})
        return ordered

    def _payment_mismatches(self) -> Iterator[str]:
        kept = self.kept()
        charged = Counter(each["order_id"] for each in self.payments if each["status"] == "succeeded")
        for order in self.orders:
            order_id, due = order["order_id"], order["total"] if order["status"] in SOLD else 0
            if round(kept.get(order_id, 0) - due, 4):
                yield f"order {order_id} ({order['status']}): {kept.get(order_id, 0)} is kept, {due} is due"
            if charged[order_id] > 1:
                yield f"order {order_id} was charged {charged[order_id]} times"
        for page in self.reconciled:
            yield from (f"the ledger differs, {each['kind']}: {each['detail']}" for each in page["mismatches"])
            if page["skipped"]:
                yield f"the ledger could not be compared with {', '.join(page['skipped'])}"

    def _mail_mismatches(self) -> Iterator[str]:
        sent = Counter((each["order_id"], each["template"]) for each in self.mails)
        for (order_id, template), number in sent.items():
            if number > 1:
                yield f"order {order_id} has the mail {template} {number} times"
        for each in self.mails:
            if each["status"] != "sent":
                yield f"the mail {each['template']} about {each['order_id']} is {each['status']}"
        for order in self.orders:
            for template, statuses in ORDER_MAILS.items():
                if order["status"] in statuses and not sent[order["order_id"], template]:
                    yield f"order {order['order_id']} is {order['status']}, and has no mail {template}"
