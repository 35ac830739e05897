"""Requests and state checks that the tests of payments share."""

from typing import Any

import orjson
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

WEBHOOK_PATH = "/payments/webhooks/simulated"
PROVIDER_TIMEOUT = 60
"""Seconds that the provider has in these tests; more than the default, so that they pass on a busy machine."""
ATTEMPT_LIMIT = PROVIDER_TIMEOUT + 5
"""Seconds after which an attempt to charge is over, even if its process crashed."""


class PendingRefunds(SimulatedProvider):
    """A provider whose refunds stay in status `processing`."""

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        return ProviderRefund("re_1", key, "processing", amount)


def charge_body(**changes: Any) -> dict[str, Any]:
    """Return the body of a charge: 25 dollars with a new key."""
    order_id = OrderId.new()
    usual = {"key": f"{order_id}/charge", "order_id": order_id, "user_id": UserId.new()}
    return {**usual, "amount": 25, "currency": "USD", "method": "pm_ok", **changes}


async def charge(payments: RunningService, **changes: Any) -> dict[str, Any]:
    """Charge as the orders service and return the payment."""
    response = await payments.as_service("orders").post("/payments", json=charge_body(**changes))
    assert response.status_code == 201, response.content
    return response.json()


async def void(payments: RunningService, key: str) -> Answer:
    return await payments.as_service("orders").put(f"/payments/voids/{key}")


async def refund(payments: RunningService, payment_id: str, **body: Any) -> Answer:
    return await payments.as_service("orders").post(f"/payments/{payment_id}/refunds", json=body)


async def refunds(payments: RunningService, payment_id: str) -> list[dict[str, Any]]:
    """Return the refunds of a payment, newest first."""
    response = await payments.as_service("orders", "payments:read").get(f"/payments/{payment_id}/refunds")
    assert response.status_code == 200, response.content
    return response.json()


async def read(payments: RunningService, payment_id: str) -> dict[str, Any]:
    response = await payments.as_service("orders").get(f"/payments/{payment_id}")
    assert response.status_code == 200, response.content
    return response.json()


def provider(payments: RunningService) -> SimulatedProvider:
    found = payments.context.resource(PaymentProvider)  # type: ignore[type-abstract]
    assert isinstance(found, SimulatedProvider)
    return found


async def published_types(payments: RunningService) -> list[str]:
    """Return the types of the published events, oldest first."""
    return [event.event_type for event in await payments.published()]


async def provider_charges(payments: RunningService) -> list[tuple[str, int, int]]:
    """Return the status, amount and refunded amount (minor units) of each charge at the provider."""
    async with payments.context.reader() as reader:
        found = await reader.all(select(SimulatedCharge).order_by(SimulatedCharge.charge_id))
    return [(each.status, each.amount_minor, each.refunded_minor) for each in found]


async def ledger_balances(payments: RunningService) -> dict[str, int]:
    """Check that the ledger sums to zero, and return the balance of each account."""
    async with payments.context.reader() as reader:
        transactions = await reader.all(select(LedgerTransaction.transaction_id))
        assert await imbalances(reader, transactions) == []
        total = (await reader.execute(select(func.sum(LedgerEntry.amount_minor)))).scalar_one()
        assert total in {None, 0}
        return {each.account: each.minor for each in await balances(reader)}


def event_body(payment: dict[str, Any], status: str = "succeeded", *, event_id: str = "evt_1", **changes: Any) -> bytes:
    """Return the body of a webhook about the charge of a payment."""
    charged = {
        "object": "charge",
        "id": "ch_1",
        "key": payment["payment_id"],
        "status": status,
        "amount": 2500,
        "currency": "USD",
        **changes,
    }
    return orjson.dumps({"id": event_id, "type": f"charge.{status}", "created": 1, "data": {"object": charged}})


async def send_webhook(
    payments: RunningService,
    body: bytes,
    *,
    signature: str | None = "",
    path: str = WEBHOOK_PATH,
    media_type: str | None = "application/json",
) -> Answer:
    """Send a webhook with a valid signature, unless `signature` is given."""
    header = provider(payments).signature(body, now=payments.clock.now()) if signature == "" else signature
    given = {"content-type": media_type, "webhook-signature": header}
    headers = {name: value for name, value in given.items() if value is not None}
    return await payments.anonymous.post(path, content=body, headers=headers)
