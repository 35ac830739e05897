from decimal import Decimal
from typing import Annotated, Self

from pydantic import PlainSerializer

from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId
from portico.kit import Money, Schema
from portico.services.payments.ledger.domain import SECTIONS, Mismatch, MismatchKind, Neighbour, Report

SignedAmount = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""An amount that may be negative, as a JSON number."""


class AccountRead(Schema):
    """The balance of a ledger account in one currency."""

    account: str
    currency: str
    balance: SignedAmount


class MismatchRead(Schema):
    """Two records disagree: `expected` according to the first, `found` in the second."""

    kind: MismatchKind
    detail: str
    payment_id: PaymentId | None
    order_id: OrderId | None
    reference: str | None
    currency: str | None
    expected: SignedAmount
    found: SignedAmount


class Checked(Schema):
    """How many rows this page checked."""

    payments: int
    charges: int
    transactions: int
    orders: int


class ReconciliationRead(Schema):
    """One page of the reconciliation. `matches` is true if all rows of this page were checked and agree.

    `skipped` names the systems that could not be asked. `accounts` is on the first page only.
    """

    matches: bool
    checked: Checked
    skipped: list[Neighbour]
    accounts: list[AccountRead] | None
    mismatches: list[MismatchRead]
    next_cursor: str | None

    @classmethod
    def of_report(cls, report: Report) -> Self:
        accounts = report.accounts
        return cls(
            matches=not report.mismatches and not report.skipped,
            checked=Checked(**{section: report.checked[section] for section in SECTIONS}),
            skipped=sorted(report.skipped),
            accounts=None
            if accounts is None
            else [
                AccountRead(
                    account=each.account, currency=each.currency, balance=Money(each.minor, each.currency).amount
                )
                for each in accounts
            ],
            mismatches=[_mismatch(each) for each in report.mismatches],
            next_cursor=None if report.next is None else report.next.cursor,
        )


def _mismatch(found: Mismatch) -> MismatchRead:
    return MismatchRead(
        kind=found.kind,
        detail=found.detail,
        payment_id=found.payment_id,
        order_id=found.order_id,
        reference=found.reference,
        currency=found.currency,
        expected=_amount(found.expected, found.currency),
        found=_amount(found.found, found.currency),
    )


def _amount(minor: int, currency: str | None) -> Decimal:
    return Decimal(minor) if currency is None else Money(minor, currency).amount
