"""The process's writer of charges, which starts payments and records successful charges in groups.

The provider is called between the two, for each charge at its own time: a slow card delays no other.
"""

import contextvars
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from portico.contracts.payments import PaymentId
from portico.kit import Problem, ServiceContext, UnitOfWork
from portico.kit.data import GroupCommit
from portico.services.payments import events, repository
from portico.services.payments.domain import PaymentRequest
from portico.services.payments.errors import PaymentKeyReused, Voided
from portico.services.payments.ledger.models import income_account
from portico.services.payments.ledger.repository import Posting, post_all
from portico.services.payments.models import Payment, PaymentKey
from portico.services.payments.provider import ProviderCharge
from portico.services.payments.repository import Payments
from portico.services.payments.settings import PaymentsSettings


@dataclass(frozen=True, slots=True)
class PaymentStart:
    """A payment to be started, unless its key is taken. `attempt_limit` is in seconds."""

    key: str
    payment_id: PaymentId
    request: PaymentRequest
    attempt_limit: float


@dataclass(frozen=True, slots=True)
class Success:
    """A charge that succeeded, and its payment as it was read. Its event belongs to the trace of `context`."""

    payment: Payment
    charge: ProviderCharge
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class ChargeWriter:
    """Writes charges of many callers in few transactions. Each call can be repeated safely.

    Args:
        starts: starts payments.
        successes: records successful charges. It returns when that was, or None if the payment has changed.
    """

    def __init__(
        self, starts: GroupCommit[PaymentStart, Payment], successes: GroupCommit[Success, datetime | None]
    ) -> None:
        self._starts = starts
        self._successes = successes

    async def start(self, start: PaymentStart) -> Payment:
        """Return the payment of the key, or start it. Of two concurrent calls, the second gets the payment of the first.

        Raises Voided, PaymentKeyReused, Unavailable.
        """
        return await self._starts.submit(start)

    async def record_success(self, payment: Payment, charge: ProviderCharge) -> bool:
        """Record that a payment succeeded, unless its row changed since `payment` was read; return whether it did.

        Raises Unavailable.
        """
        at = await self._successes.submit(Success(payment, charge))
        if at is None:
            return False
        payment.succeed(charge.charge_id, at)
        payment.revision += 1
        return True


@asynccontextmanager
async def open_charge_writer(context: ServiceContext) -> AsyncIterator[ChargeWriter]:
    """Open the writer. Charges that wait when the service stops are still written."""
    settings = context.settings_of(PaymentsSettings)
    batch, queue = settings.charge_batch, settings.charge_queue
    starts = GroupCommit[PaymentStart, Payment](context.transaction, start_payments, max_batch=batch, max_waiting=queue)
    successes = GroupCommit[Success, datetime | None](
        context.transaction, record_successes, max_batch=batch, max_waiting=queue
    )
    async with starts, successes:
        yield ChargeWriter(starts, successes)


async def start_payments(work: UnitOfWork, starts: Sequence[PaymentStart]) -> Sequence[Payment | Problem]:
    """Return the payment of each key, and create those whose key is new."""
    claimed = await repository.claim_keys(work, [(each.key, each.payment_id) for each in starts])
    new = [
        Payment.start(each.payment_id, each.request, attempt_limit=each.attempt_limit, now=work.now)
        for each, is_new in zip(starts, claimed, strict=True)
        if is_new
    ]
    await Payments(work).insert_all(new)
    created = iter(new)
    return [
        next(created) if is_new else await _known_payment(work, each)
        for each, is_new in zip(starts, claimed, strict=True)
    ]


async def _known_payment(work: UnitOfWork, start: PaymentStart) -> Payment | Problem:
    known = await work.get(PaymentKey, start.key)
    if known is None or known.payment_id is None:
        return Voided(key=start.key)
    payment = await Payments(work).get(known.payment_id)
    if not payment.matches(start.request):
        return PaymentKeyReused(key=start.key, payment_id=payment.payment_id)
    return payment if payment.voided_at is None else Voided(key=start.key)


async def record_successes(work: UnitOfWork, successes: Sequence[Success]) -> Sequence[datetime | None]:
    """Record charges that succeeded, except those of payments that have changed meanwhile."""
    charges = [(each.payment, each.charge.charge_id) for each in successes]
    recorded = await repository.record_successes(work, charges)
    done = [each for each, is_recorded in zip(successes, recorded, strict=True) if is_recorded]
    await post_all(work, [posting_of(each.payment) for each in done])
    for each in done:
        each.context.run(partial(work.publish, events.processed(each.payment)))
    return [work.now if is_recorded else None for is_recorded in recorded]


def posting_of(payment: Payment) -> Posting:
    """Return the ledger's posting of a charge."""
    return Posting("charge", payment.payment_id, payment.payment_id, payment.money, income=income_account(payment))
