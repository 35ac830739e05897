"""The rules of reconciliation: what must match, and which mismatch is reported. Amounts are minor units."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import orjson

from portico.contracts.bookings import BookingId, BookingTotal
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
    "booking_unknown",
    "booking_differs",
]
Seller = Literal["orders", "bookings"]
"""A service that sells what is paid."""
Section = Literal["payments", "charges", "transactions"] | Seller
Neighbour = Literal["provider"] | Seller

SECTIONS: Final[tuple[Section, ...]] = ("payments", "charges", "transactions", "orders", "bookings")
"""What is checked, in this order; a page may end in any section. A section of a service that the system lacks is empty."""
_CLOSED: Final = frozenset({"returned", "cancelled", "failed"})
_PAID_BOOKINGS: Final = frozenset({"CONFIRMED", "CANCELLED"})
_UNPAID_BOOKINGS: Final = frozenset({"FAILED", "EXPIRED"})
_MAX_CURSOR_LENGTH: Final = 300


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
    """What the payments of an order or a booking have collected, by currency.

    Args:
        minor: charges less completed refunds.
        refunded: refunds of payments that were not voided, such as a discount for a damaged product; they are allowed.
        is_moving: whether a charge or refund is in progress.
    """

    minor: dict[str, int]
    refunded: dict[str, int]
    is_moving: bool = False


@dataclass(frozen=True, slots=True)
class Owed:
    """What must be collected for an order or a booking, in minor units of `currency`.

    Args:
        reference: the order or the booking.
        status: its status.
        currency: ISO 4217.
        minor: the amount; None while that is undecided.
        refunded: refunds that the amount already takes into account.
    """

    reference: OrderId | BookingId
    status: str
    currency: str
    minor: int | None
    refunded: int = 0


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
    booking_id: BookingId | None = None
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
        fits = after is None or (isinstance(after, str) and len(after) < _MAX_CURSOR_LENGTH and after.isprintable())
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
    """The result for one page. `checked` has the sections that the system has."""

    checked: dict[Section, int]
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
        booking_id=payment.booking_id,
    )


def compare_with_report(row: Payment | Refund, payment: Payment) -> Mismatch | None:
    """Compare a charge or a refund of `payment` in progress with the amount that the provider last reported for it."""
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
        order_id=payment.order_id,
        booking_id=payment.booking_id,
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
        booking_id=payment.booking_id,
        reference=charge.charge_id,
    )


def owed_for_order(order: OrderTotal) -> Owed:
    """Return what must be collected for an order: its total if it is sold, nothing if it is closed."""
    minor = None
    if order.status in SOLD:
        minor = Money.of(order.total, order.currency).minor
    elif order.status in _CLOSED:
        minor = 0
    return Owed(order.order_id, order.status, order.currency, minor)


def owed_for_booking(booking: BookingTotal) -> Owed:
    """Return what must be collected for a booking: its amount less refunds once it is paid, nothing if it failed."""
    refunded = Money.of(booking.refunded, booking.currency).minor
    minor = None
    if booking.status in _PAID_BOOKINGS:
        minor = Money.of(booking.amount, booking.currency).minor - refunded
    elif booking.status in _UNPAID_BOOKINGS:
        minor = 0
    return Owed(booking.booking_id, booking.status, booking.currency, minor, refunded)


def compare_with_owed(owed: Owed, collected: Collected) -> Mismatch | None:
    """Compare what must be collected for an order or a booking with what was.

    Refunds by staff lower what must at least be there. Undecided purchases and payments in progress are not mismatches.
    """
    if collected.is_moving or owed.minor is None:
        return None
    least = max(0, owed.minor - max(0, collected.refunded.get(owed.currency, 0) - owed.refunded))
    due = min(max(least, collected.minor.get(owed.currency, 0)), owed.minor)
    expected = {owed.currency: due} if due else {}
    found = {currency: minor for currency, minor in collected.minor.items() if minor}
    if expected == found:
        return None
    currency = next((each for each in found if each != owed.currency), owed.currency)
    minors = expected.get(currency, 0), found.get(currency, 0)
    detail = f"The collected money differs from what {{}} in status '{owed.status}' costs."
    if isinstance(owed.reference, BookingId):
        return Mismatch("booking_differs", detail.format("a booking"), currency, *minors, booking_id=owed.reference)
    return Mismatch("order_differs", detail.format("an order"), currency, *minors, order_id=owed.reference)


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
        booking_id=payment.booking_id,
        reference=payment.charge_id,
    )


def unknown_purchase(payment: Payment) -> Mismatch:
    """Report a payment of an order or a booking that does not exist."""
    of_order = payment.booking_id is None
    return Mismatch(
        "order_unknown" if of_order else "booking_unknown",
        f"Money was collected for {'an order' if of_order else 'a booking'} that does not exist.",
        payment.currency,
        0,
        payment.collected_minor,
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        booking_id=payment.booking_id,
    )
