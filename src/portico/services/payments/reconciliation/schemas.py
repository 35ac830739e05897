from decimal import Decimal
from typing import Annotated, Self

from pydantic import PlainSerializer

from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId
from portico.kit.foundation.money import Money
from portico.kit.http import Schema
from portico.services.payments.reconciliation.domain import SECTIONS, Mismatch, MismatchKind, Neighbour, Report

SignedSum = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""A sum that may be negative: a JSON number."""


class AccountRead(Schema):
    """What an account of the ledger holds of a currency."""

    account: str
    currency: str
    balance: SignedSum


class MismatchRead(Schema):
    """Where two of the books say different things: `expected` after the first, `found` in the second."""

    kind: MismatchKind
    detail: str
    payment_id: PaymentId | None
    order_id: OrderId | None
    reference: str | None
    currency: str | None
    expected: SignedSum
    found: SignedSum


class Checked(Schema):
    """How many rows were gone through on this page."""

    payments: int
    charges: int
    transactions: int
    orders: int


class ReconciliationRead(Schema):
    """A page of the books. `matches` says that all of this page was looked at and agrees; `next` leads to the next one.

    `skipped` names who could not be asked. `accounts` stand on the first page.
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
        expected=_sum(found.expected, found.currency),
        found=_sum(found.found, found.currency),
    )


def _sum(minor: int, currency: str | None) -> Decimal:
    return Decimal(minor) if currency is None else Money(minor, currency).amount
