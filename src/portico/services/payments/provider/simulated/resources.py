from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from portico.kit.data import UnitOfWork
from portico.kit.data.upsert import insert_if_absent
from portico.kit.foundation.money import Money
from portico.kit.runtime.context import ServiceRuntime
from portico.services.payments.provider.domain import (
    ChargeOrder,
    ProviderCharge,
    ProviderEvent,
    ProviderRefund,
    ProviderRefused,
    ProviderUnavailable,
    refuse_in_transaction,
)
from portico.services.payments.provider.simulated.domain import ACTS, event_body, event_of
from portico.services.payments.provider.simulated.models import (
    ChargeId,
    ProviderRefundId,
    SimulatedCharge,
    SimulatedRefund,
    SimulatedWebhook,
)
from portico.services.payments.provider.simulated.repository import CHARGES, charge_called, charges_after
from portico.services.payments.settings import PaymentsSettings
from portico.services.payments.webhooks.domain import sign, verify

_LOST: Final = "lost"
_ENDED: Final = frozenset({"succeeded", "failed"})


class SimulatedProvider:
    """A payment provider that lives in payments' own database, and behaves as one that is far away.

    What it knows is durable and committed by itself, whatever becomes of the caller; it charges once by a key; its
    methods act out the faults that outside systems have (see ACTS).
    """

    name: Final = "simulated"

    def __init__(self, context: ServiceRuntime) -> None:
        self._context = context
        self._settings = context.settings_of(PaymentsSettings)
        self._secret = context.secrets.webhook_secret.get_secret_value().encode()

    async def charge(self, order: ChargeOrder) -> ProviderCharge:
        refuse_in_transaction()
        act = ACTS.get(order.method)
        if act is None:
            raise ProviderRefused("unknown_payment_method")
        charge = await self._context.transact(partial(self._charged, order=order))
        if Money(charge.amount_minor, charge.currency) != order.amount or charge.method != order.method:
            raise ProviderRefused("idempotency_key_reused")
        if charge.asked == 1 and act.meets != "answer":
            raise ProviderUnavailable("the answer was lost" if act.meets == "timeout" else "500 from the provider")
        return charge.told

    async def _charged(self, work: UnitOfWork, *, order: ChargeOrder) -> SimulatedCharge:
        act = ACTS[order.method]
        slow = work.now + timedelta(seconds=self._settings.simulated_settlement)
        row = {
            "key": str(order.key),
            "charge_id": ChargeId.new(),
            "reference": str(order.reference),
            "amount_minor": order.amount.minor,
            "currency": order.amount.currency,
            "method": order.method,
            "status": act.status,
            "failure_reason": act.reason,
            "refunded_minor": 0,
            "settles_at": slow if act.status == "processing" else None,
            "asked": 1,
            "created_at": work.now,
        }
        if await insert_if_absent(work, CHARGES, row):
            charge = SimulatedCharge(**row)
            if act.status == "succeeded":
                self._tell(work, charge)
            return charge
        return await self._asked_again(work, order.key)

    async def _asked_again(self, work: UnitOfWork, key: str) -> SimulatedCharge:
        charge = await work.get(SimulatedCharge, key, lock=True)
        if charge is None:
            raise ProviderUnavailable("the request that it repeats was undone")
        charge.asked += 1
        if charge.status == _LOST:
            charge.status = "succeeded"
        return charge

    async def find_charge(self, key: str) -> ProviderCharge | None:
        refuse_in_transaction()
        async with self._context.reader() as reader:
            charge = await reader.get(SimulatedCharge, key)
        if charge is None or charge.status not in _ENDED:
            charge = await self.settle(key)  # not by a reader: a replica may not have heard of it yet
        return None if charge is None or charge.status == _LOST else charge.told

    async def settle(self, key: str) -> SimulatedCharge | None:
        """The charge by this key; a slow one has its outcome once its time has come, and it is told of."""
        return await self._context.transact(partial(self._settled, key=key))

    async def _settled(self, work: UnitOfWork, *, key: str) -> SimulatedCharge | None:
        charge = await work.get(SimulatedCharge, key, lock=True)
        if charge is not None and charge.settles_at is not None and charge.settles_at <= work.now:
            charge.status, charge.settles_at = "succeeded", None
            self._tell(work, charge)
        return charge

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        refuse_in_transaction()
        return await self._context.transact(partial(self._refunded, key=key, charge_id=charge_id, amount=amount))

    async def _refunded(self, work: UnitOfWork, *, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        charge = await charge_called(work, charge_id, lock=True)
        if charge is None or charge.status != "succeeded":
            raise ProviderRefused("charge_not_refundable")
        known = await work.get(SimulatedRefund, key)
        if known is not None:
            return known.told
        if amount.currency != charge.currency or amount.minor > charge.amount_minor - charge.refunded_minor:
            raise ProviderRefused("charge_already_refunded")
        charge.refunded_minor += amount.minor
        refund = SimulatedRefund(
            key=str(key),
            refund_id=ProviderRefundId.new(),
            charge_id=charge.charge_id,
            amount_minor=amount.minor,
            currency=amount.currency,
            created_at=work.now,
        )
        work.add(refund)
        return refund.told

    async def charges(self, *, after: str | None, limit: int) -> Sequence[ProviderCharge]:
        refuse_in_transaction()
        async with self._context.reader() as reader:
            return [charge.told for charge in await charges_after(reader, after, limit)]

    def event(self, body: bytes, signature: str | None, *, now: datetime) -> ProviderEvent:
        verify(body, signature, self._secret, now=now, tolerance=self._settings.webhook_tolerance)
        return event_of(body)

    def signature(self, body: bytes, *, now: datetime) -> str:
        """The header that goes with a webhook of this body."""
        return sign(body, self._secret, now=now)

    def _tell(self, work: UnitOfWork, charge: SimulatedCharge) -> None:
        """Have it said by webhook what became of `charge`, as often as its method has it; each time the same event."""
        times = ACTS[charge.method].webhooks
        body = event_body(charge.told, int(work.now.timestamp())).decode() if times else ""
        for _ in range(times):
            work.add(SimulatedWebhook(body=body, send_at=work.now, attempts=0, created_at=work.now))
