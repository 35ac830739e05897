"""How tests of payments charge, and what they look at afterwards."""

from typing import Any

from sqlalchemy import func, select

from portico.contracts.orders import OrderId
from portico.kit.auth import UserId
from portico.kit.foundation.money import Money
from portico.services.payments.ledger.models import LedgerEntry, LedgerTransaction
from portico.services.payments.ledger.repository import balances, imbalances
from portico.services.payments.provider import PaymentProvider, ProviderRefund
from portico.services.payments.simulated_provider.models import SimulatedCharge
from portico.services.payments.simulated_provider.provider import SimulatedProvider
from portico.testing.running_service import Answer, RunningService


class Promises(SimulatedProvider):
    """Says of every refund that it is on its way."""

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:  # the interface's
        return ProviderRefund("re_1", key, "processing", amount)


def draft(**changes: Any) -> dict[str, Any]:
    """What a service asks to be charged: 25 dollars, by a new key."""
    order_id = OrderId.new()
    usual = {"key": f"{order_id}/charge", "order_id": order_id, "user_id": UserId.new()}
    return {**usual, "amount": 25, "currency": "USD", "method": "pm_ok", **changes}


async def charge(payments: RunningService, **changes: Any) -> dict[str, Any]:
    """A payment, as orders has it made."""
    answer = await payments.as_service("orders").post("/payments", json=draft(**changes))
    assert answer.status_code == 201, answer.content
    return answer.json()


async def void(payments: RunningService, key: str) -> Answer:
    return await payments.as_service("orders").put(f"/payments/voids/{key}")


async def refund(payments: RunningService, payment_id: str, **body: Any) -> Answer:
    return await payments.as_service("orders").post(f"/payments/{payment_id}/refunds", json=body)


async def refunds(payments: RunningService, payment_id: str) -> list[dict[str, Any]]:
    """What was given back of a payment, or is or was to be; the newest first."""
    answer = await payments.as_service("orders", "payments:read").get(f"/payments/{payment_id}/refunds")
    assert answer.status_code == 200, answer.content
    return answer.json()


async def read(payments: RunningService, payment_id: str) -> dict[str, Any]:
    answer = await payments.as_service("orders").get(f"/payments/{payment_id}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def provider(payments: RunningService) -> SimulatedProvider:
    found = payments.context.resource(PaymentProvider)  # type: ignore[type-abstract]
    assert isinstance(found, SimulatedProvider)
    return found


async def events(payments: RunningService) -> list[str]:
    """The types of the events that were told, oldest first."""
    return [event.event_type for event in await payments.published()]


async def at_provider(payments: RunningService) -> list[tuple[str, int, int]]:
    """Each charge at the provider: its state, its amount and what was given back, in minor units."""
    async with payments.context.reader() as reader:
        found = await reader.all(select(SimulatedCharge).order_by(SimulatedCharge.charge_id))
    return [(each.status, each.amount_minor, each.refunded_minor) for each in found]


async def balance(payments: RunningService) -> dict[str, int]:
    """What each account of the ledger holds, having looked that all of it sums to zero."""
    async with payments.context.reader() as reader:
        transactions = await reader.all(select(LedgerTransaction.transaction_id))
        assert await imbalances(reader, transactions) == []
        total = (await reader.execute(select(func.sum(LedgerEntry.amount_minor)))).scalar_one()
        assert total in {None, 0}
        return {each.account: each.minor for each in await balances(reader)}
