"""What has to match, and what is said where it does not. Amounts are whole minor units."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import orjson

from portico.contracts.orders import SOLD, OrderId, OrderTotal
from portico.contracts.payments import PaymentId
from portico.kit.data import InvalidCursor
from portico.kit.foundation.money import Money
from portico.services.payments.ledger.queries import Balance, Imbalance
from portico.services.payments.payments.models import Payment
from portico.services.payments.provider.domain import ProviderCharge

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
"""What is gone through, in order; a page may end within any."""
_OVER: Final = frozenset({"returned", "cancelled", "failed"})
_LONGEST_CURSOR: Final = 300


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two of the books say different things: `expected` after the first, `found` in the second."""

    kind: MismatchKind
    detail: str
    currency: str | None
    expected: int
    found: int
    payment_id: PaymentId | None = None
    order_id: OrderId | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: in a section, after the row called `after`."""

    section: Section = SECTIONS[0]
    after: str | None = None

    @property
    def cursor(self) -> str:
        return base64.urlsafe_b64encode(orjson.dumps([self.section, self.after])).rstrip(b"=").decode()

    @classmethod
    def of(cls, cursor: str) -> "Place":
        """Raises InvalidCursor."""
        try:
            section, after = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
        except (ValueError, TypeError, binascii.Error) as error:
            raise InvalidCursor from error
        fits = after is None or (isinstance(after, str) and len(after) < _LONGEST_CURSOR and after.isprintable())
        if section not in SECTIONS or not fits:
            raise InvalidCursor
        return cls(section, after)

    def following(self) -> "Place | None":
        """The beginning of the next section."""
        rest = SECTIONS[SECTIONS.index(self.section) + 1 :]
        return Place(rest[0]) if rest else None


@dataclass(slots=True)
class Examined:
    """What a part of a section showed. `after` is the last row looked at; None where the section is through."""

    count: int
    after: str | None
    mismatches: list[Mismatch] = field(default_factory=list)
    skipped: set[Neighbour] = field(default_factory=set)


@dataclass(slots=True)
class Report:
    """What a page of the books showed."""

    checked: dict[Section, int] = field(default_factory=lambda: dict.fromkeys(SECTIONS, 0))
    mismatches: list[Mismatch] = field(default_factory=list)
    skipped: set[Neighbour] = field(default_factory=set)
    accounts: list[Balance] | None = None
    next: Place | None = None


def kept_of(payment: Payment) -> int:
    """What a payment has brought so far."""
    return payment.amount_minor - payment.refunded_minor if payment.charged_at else 0


def against_ledger(payment: Payment, held: dict[str, int]) -> Mismatch | None:
    """A payment against what the ledger has of it, by currency."""
    expected = {payment.currency: kept_of(payment)} if kept_of(payment) else {}
    found = {currency: minor for currency, minor in held.items() if minor}
    if expected == found:
        return None
    currency = next((each for each in found if each != payment.currency), payment.currency)
    return Mismatch(
        "ledger_differs",
        "The ledger has another sum of this payment than the payment itself.",
        currency,
        expected.get(currency, 0),
        found.get(currency, 0),
        payment_id=payment.payment_id,
        order_id=payment.order_id,
    )


def _against_provider(payment: Payment, charge: ProviderCharge) -> Mismatch | None:
    """A payment against its charge. What is on its way between the two is no mismatch."""
    if payment.is_open or payment.refunding_minor or charge.status == "processing":
        return None
    there = charge.status == "succeeded"
    charged = Money(charge.amount.minor if there else 0, charge.amount.currency)
    kept = Money(charged.minor - (charge.refunded.minor if there else 0), charged.currency)
    expected = Money(kept_of(payment), payment.currency)
    whole = Money(payment.amount_minor if payment.charged_at else 0, payment.currency)
    if (kept, charged) == (expected, whole) or not (kept.minor or charged.minor or expected.minor or whole.minor):
        return None
    return Mismatch(
        "provider_differs",
        f"The provider has another sum of this payment: it charged {charged.amount} {charged.currency} of {whole.amount}.",
        charged.currency,
        expected.minor,
        kept.minor,
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        reference=charge.charge_id,
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """What the payments of an order have brought so far, by currency; `moving` while some of it is on its way.

    `given_back` is what staff gave back of payments that stand, for a scratch or a late parcel: nobody is owed it.
    """

    minor: dict[str, int]
    given_back: dict[str, int]
    moving: bool = False


def against_order(order: OrderTotal, kept: Kept) -> Mismatch | None:
    """An order against what was paid for it: its total where it stands, nothing where it is over.

    What is missing of the total may have been given back; which of two payments was, where one was too many, is all one.
    """
    if kept.moving or order.status not in _OVER.union(SOLD):
        return None
    total = Money.of(order.total, order.currency).minor if order.status in SOLD else 0
    least = max(0, total - kept.given_back.get(order.currency, 0))
    due = min(max(least, kept.minor.get(order.currency, 0)), total)
    expected = {order.currency: due} if due else {}
    found = {currency: minor for currency, minor in kept.minor.items() if minor}
    if expected == found:
        return None
    currency = next((each for each in found if each != order.currency), order.currency)
    return Mismatch(
        "order_differs",
        f"The money kept is not what an order that is {order.status} costs.",
        currency,
        expected.get(currency, 0),
        found.get(currency, 0),
        order_id=order.order_id,
    )


def unbalanced_currencies(accounts: Iterable[Balance]) -> list[Mismatch]:
    """The currencies whose accounts do not sum to zero."""
    sums: dict[str, int] = {}
    for balance in accounts:
        sums[balance.currency] = sums.get(balance.currency, 0) + balance.minor
    return [
        Mismatch("ledger_unbalanced", "The accounts of this currency do not sum to zero.", currency, 0, minor)
        for currency, minor in sums.items()
        if minor
    ]


def unbalanced_transaction(odd: Imbalance) -> Mismatch:
    """A transaction that breaks the ledger's rule."""
    return Mismatch(
        "ledger_unbalanced",
        "The entries of this transaction do not sum to zero.",
        odd.currency,
        0,
        odd.minor,
        payment_id=odd.payment_id,
        reference=odd.transaction_id,
    )


def unknown_payment(payment_id: PaymentId, held: dict[str, int]) -> Mismatch:
    """The ledger tells of a payment that there is not."""
    currency, minor = next(iter(held.items()), (None, 0))
    detail = "The ledger has money of a payment that there is not."
    return Mismatch("ledger_unknown_payment", detail, currency, 0, minor, payment_id=payment_id)


def missing_at_provider(payment: Payment) -> Mismatch:
    """Money is said to be there that nobody took."""
    return Mismatch(
        "provider_missing",
        "The provider knows of no charge for this payment.",
        payment.currency,
        payment.amount_minor,
        0,
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        reference=payment.charge_id,
    )


def without_order(payment: Payment) -> Mismatch:
    """Money is kept for nothing."""
    return Mismatch(
        "order_unknown",
        "Money is kept for an order that orders does not know.",
        payment.currency,
        0,
        kept_of(payment),
        payment_id=payment.payment_id,
        order_id=payment.order_id,
    )


def differing_charge(payment: Payment | None, charge: ProviderCharge) -> Mismatch | None:
    """A charge against the payment that it was made for, where there is one."""
    if payment is not None:
        return _against_provider(payment, charge)
    if charge.status != "succeeded":
        return None
    return Mismatch(
        "provider_unknown_payment",
        "The provider has charged what payments knows nothing of.",
        charge.amount.currency,
        0,
        charge.amount.minor - charge.refunded.minor,
        reference=charge.charge_id,
    )
