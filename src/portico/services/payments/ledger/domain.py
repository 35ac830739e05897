"""The rules of reconciliation: what must match, and which mismatch is reported. Amounts are minor units."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import orjson

from portico.contracts.orders import SOLD, OrderId, OrderTotal
from portico.contracts.payments import PaymentId
from portico.kit import InvalidCursor, Money
from portico.services.payments.ledger.models import TransactionId
from portico.services.payments.models import Payment, Refund
from portico.services.payments.provider import ProviderCharge

MismatchKind = Literal[
    "ledger_unbalanced",
    "ledger_differs",
    "ledger_unknown_payment",
    "provider_missing",
    "provider_differs",
    "provider_unknown_payment",
    "order_unknown",
    "order_differs",
]
Section = Literal["payments", "charges", "transactions", "orders"]
Neighbour = Literal["orders", "provider"]

SECTIONS: Final[tuple[Section, ...]] = ("payments", "charges", "transactions", "orders")
"""What is checked, in this order; a page may end in any section."""
_CLOSED: Final = frozenset({"returned", "cancelled", "failed"})
_LONGEST_CURSOR: Final = 300


@dataclass(frozen=True, slots=True)
class Balance:
    """The balance of an account in one currency."""

    account: str
    currency: str
    minor: int


@dataclass(frozen=True, slots=True)
class Imbalance:
    """A ledger transaction whose entries do not sum to zero."""

    transaction_id: TransactionId
    payment_id: PaymentId
    currency: str
    minor: int


@dataclass(frozen=True, slots=True)
class Collected:
    """What the payments of an order have collected, by currency.

    Args:
        minor: charges less completed refunds.
        refunded: refunds of payments that were not voided, such as a discount for a damaged product; they are allowed.
        is_moving: whether a charge or refund is in progress.
    """

    minor: dict[str, int]
    refunded: dict[str, int]
    is_moving: bool = False


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two records disagree: `expected` according to the first, `found` in the second."""

    kind: MismatchKind
    detail: str
    currency: str | None
    expected: int
    found: int
    payment_id: PaymentId | None = None
    order_id: OrderId | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page starts: in a section, after the row with the id `after`."""

    section: Section = SECTIONS[0]
    after: str | None = None

    @property
    def cursor(self) -> str:
        """The position as an opaque string."""
        return base64.urlsafe_b64encode(orjson.dumps([self.section, self.after])).rstrip(b"=").decode()

    @classmethod
    def of(cls, cursor: str) -> "Position":
        """Return the position of a cursor. Raises InvalidCursor."""
        try:
            section, after = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
        except (ValueError, TypeError, binascii.Error) as error:
            raise InvalidCursor from error
        fits = after is None or (isinstance(after, str) and len(after) < _LONGEST_CURSOR and after.isprintable())
        if section not in SECTIONS or not fits:
            raise InvalidCursor
        return cls(section, after)

    def next_section(self) -> "Position | None":
        """Return the start of the next section."""
        rest = SECTIONS[SECTIONS.index(self.section) + 1 :]
        return Position(rest[0]) if rest else None


@dataclass(slots=True)
class SectionResult:
    """The result for a part of a section. `after` is the id of the last row, or None at the end of the section."""

    count: int
    after: str | None
    mismatches: list[Mismatch] = field(default_factory=list)
    skipped: set[Neighbour] = field(default_factory=set)


@dataclass(slots=True)
class Report:
    """The result for one page."""

    checked: dict[Section, int] = field(default_factory=lambda: dict.fromkeys(SECTIONS, 0))
    mismatches: list[Mismatch] = field(default_factory=list)
    skipped: set[Neighbour] = field(default_factory=set)
    accounts: list[Balance] | None = None
    next: Position | None = None


def compare_with_ledger(payment: Payment, held: dict[str, int]) -> Mismatch | None:
    """Compare a payment with the ledger's balance of it, by currency."""
    expected = {payment.currency: payment.collected_minor} if payment.collected_minor else {}
    found = {currency: minor for currency, minor in held.items() if minor}
    if expected == found:
        return None
    currency = next((each for each in found if each != payment.currency), payment.currency)
    return Mismatch(
        "ledger_differs",
        "The ledger's sum for this payment differs from the payment.",
        currency,
        expected.get(currency, 0),
        found.get(currency, 0),
        payment_id=payment.payment_id,
        order_id=payment.order_id,
    )


def compare_with_report(row: Payment | Refund, order_id: OrderId) -> Mismatch | None:
    """Compare a charge or a refund in progress with the amount that the provider last reported for it."""
    reported = row.reported
    if reported is None:
        return None
    kind, reference = ("refund", row.refund_id) if isinstance(row, Refund) else ("charge", row.charge_id)
    return Mismatch(
        "provider_differs",
        f"The provider reports another amount or currency for this {kind}. It stays in status '{row.status}'.",
        reported.currency,
        row.amount_minor if row.currency == reported.currency else 0,
        reported.minor,
        payment_id=row.payment_id,
        order_id=order_id,
        reference=reference,
    )


def compare_with_charge(payment: Payment | None, charge: ProviderCharge) -> Mismatch | None:
    """Compare a charge at the provider with the payment it was made for."""
    if payment is not None:
        return _compare_amounts(payment, charge)
    if charge.status != "succeeded":
        return None
    return Mismatch(
        "provider_unknown_payment",
        "The provider has a charge that belongs to no payment.",
        charge.amount.currency,
        0,
        charge.amount.minor - charge.refunded.minor,
        reference=charge.charge_id,
    )


def _compare_amounts(payment: Payment, charge: ProviderCharge) -> Mismatch | None:
    """Compare a payment with its charge. Charges and refunds in progress are not mismatches."""
    if payment.is_processing or payment.refunding_minor or charge.status == "processing":
        return None
    succeeded = charge.status == "succeeded"
    charged = Money(charge.amount.minor if succeeded else 0, charge.amount.currency)
    collected = Money(charged.minor - (charge.refunded.minor if succeeded else 0), charged.currency)
    expected = Money(payment.collected_minor, payment.currency)
    whole = Money(payment.amount_minor if payment.charged_at else 0, payment.currency)
    if (collected, charged) == (expected, whole):
        return None
    if not (collected.minor or charged.minor or expected.minor or whole.minor):
        return None
    return Mismatch(
        "provider_differs",
        "The provider's charge differs from this payment.",
        charged.currency,
        expected.minor if expected.currency == charged.currency else 0,
        collected.minor,
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        reference=charge.charge_id,
    )


def compare_with_order(order: OrderTotal, collected: Collected) -> Mismatch | None:
    """Compare an order with what was collected for it: its total if it is sold, nothing if it is closed.

    Refunds by staff lower what must at least be there. Undecided orders and payments in progress are not mismatches.
    """
    if collected.is_moving or order.status not in _CLOSED.union(SOLD):
        return None
    total = Money.of(order.total, order.currency).minor if order.status in SOLD else 0
    least = max(0, total - collected.refunded.get(order.currency, 0))
    due = min(max(least, collected.minor.get(order.currency, 0)), total)
    expected = {order.currency: due} if due else {}
    found = {currency: minor for currency, minor in collected.minor.items() if minor}
    if expected == found:
        return None
    currency = next((each for each in found if each != order.currency), order.currency)
    return Mismatch(
        "order_differs",
        f"The collected money differs from what an order in status '{order.status}' costs.",
        currency,
        expected.get(currency, 0),
        found.get(currency, 0),
        order_id=order.order_id,
    )


def unbalanced_currencies(accounts: Iterable[Balance]) -> list[Mismatch]:
    """Return a mismatch for each currency whose accounts do not sum to zero."""
    sums: dict[str, int] = {}
    for balance in accounts:
        sums[balance.currency] = sums.get(balance.currency, 0) + balance.minor
    return [
        Mismatch("ledger_unbalanced", "The accounts of this currency do not sum to zero.", currency, 0, minor)
        for currency, minor in sums.items()
        if minor
    ]


def unbalanced_transaction(imbalance: Imbalance) -> Mismatch:
    """Report a transaction whose entries do not sum to zero."""
    return Mismatch(
        "ledger_unbalanced",
        "The entries of this transaction do not sum to zero.",
        imbalance.currency,
        0,
        imbalance.minor,
        payment_id=imbalance.payment_id,
        reference=imbalance.transaction_id,
    )


def unknown_payment(payment_id: PaymentId, held: dict[str, int]) -> Mismatch:
    """Report ledger entries of a payment that does not exist."""
    currency, minor = next(iter(held.items()), (None, 0))
    detail = "The ledger has entries of a payment that does not exist."
    return Mismatch("ledger_unknown_payment", detail, currency, 0, minor, payment_id=payment_id)


def missing_at_provider(payment: Payment) -> Mismatch:
    """Report a charged payment that the provider does not know."""
    return Mismatch(
        "provider_missing",
        "The provider has no charge for this payment.",
        payment.currency,
        payment.amount_minor,
        0,
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        reference=payment.charge_id,
    )


def unknown_order(payment: Payment) -> Mismatch:
    """Report a payment of an order that does not exist."""
    return Mismatch(
        "order_unknown",
        "Money was collected for an order that does not exist.",
        payment.currency,
        0,
        payment.collected_minor,
        payment_id=payment.payment_id,
        order_id=payment.order_id,
    )
