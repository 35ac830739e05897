from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portico.kit import EventId, Money, ServiceContext, UnitOfWork
from portico.kit.data import GroupCommit
from portico.kit.settings import SettingsError
from portico.services.payments.provider import (
    ChargeRequest,
    ChargeStatus,
    PaymentProvider,
    ProviderCharge,
    ProviderEvent,
    ProviderRefund,
    ProviderRefused,
    ProviderUnavailable,
    refuse_in_transaction,
    sign,
    verify,
)
from portico.services.payments.settings import PaymentsSettings
from portico.services.payments.simulated_provider.models import (
    ChargeId,
    SimulatedCharge,
    SimulatedRefund,
    SimulatedWebhook,
)
from portico.services.payments.simulated_provider.repository import charges_after, insert_charges, lock_charge

_FINAL: Final = frozenset({"succeeded", "failed"})


@dataclass(frozen=True, slots=True)
class Behavior:
    """How the provider treats a payment method.

    Args:
        status: of the charge after the first request; `unprocessed` if that request failed without a charge.
        reason: why the charge failed.
        first_response: what the caller gets for the first request; a repeat is always answered.
        webhooks: how many webhooks report the outcome.
    """

    status: Literal["succeeded", "failed", "processing", "unprocessed"]
    reason: str | None = None
    first_response: Literal["answer", "timeout", "error"] = "answer"
    webhooks: int = 0


BEHAVIORS: Final[dict[str, Behavior]] = {
    "pm_ok": Behavior("succeeded"),
    "pm_declined": Behavior("failed", reason="card_declined"),
    "pm_insufficient_funds": Behavior("failed", reason="insufficient_funds"),
    "pm_slow": Behavior("processing", webhooks=1),
    "pm_timeout_then_charged": Behavior("succeeded", first_response="timeout", webhooks=1),
    "pm_error_then_ok": Behavior("unprocessed", first_response="error"),
    "pm_duplicate_webhook": Behavior("succeeded", webhooks=2),
}
"""The known payment methods. Webhooks report only outcomes that the answer did not, except for pm_duplicate_webhook."""


@asynccontextmanager
async def open_simulated_provider(context: ServiceContext) -> AsyncIterator[PaymentProvider]:
    """Open the simulated provider. A system with a real provider opens that one instead; see docs/payments.md."""
    yield SimulatedProvider(context)


class SimulatedCharges(GroupCommit[ChargeRequest, SimulatedCharge | None]):
    """Stores charges, once per key. A charge is None if the first request with its key was rolled back meanwhile."""


@asynccontextmanager
async def open_simulated_charges(context: ServiceContext) -> AsyncIterator[SimulatedCharges]:
    """Open the store of the simulated provider. Charges that wait when the service stops are still stored."""
    settings = context.settings_of(PaymentsSettings)
    apply = partial(_charge_all, settlement=timedelta(seconds=settings.simulated_settlement))
    async with SimulatedCharges(
        context.transaction, apply, max_batch=settings.charge_batch, max_waiting=settings.charge_queue
    ) as charges:
        yield charges


class SimulatedProvider:
    """A payment provider that lives in payments' database and behaves like a remote one.

    It commits its own transactions, independent of the caller's, and charges once per key. Its payment methods simulate
    the faults of outside systems (see BEHAVIORS).
    """

    name: Final = "simulated"

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._settings = context.settings_of(PaymentsSettings)
        if self._settings.webhook_secret is None:
            raise SettingsError("PAYMENTS_WEBHOOK_SECRET is not set. Set it to the secret that signs webhooks.")
        self._secret = self._settings.webhook_secret.get_secret_value().encode()

    async def charge(self, request: ChargeRequest) -> ProviderCharge:
        refuse_in_transaction()
        behavior = BEHAVIORS.get(request.method)
        if behavior is None:
            raise ProviderRefused("unknown_payment_method")
        charge = await self._context.resource(SimulatedCharges).submit(request)
        if charge is None:
            raise ProviderUnavailable("the first request was rolled back")
        if Money(charge.amount_minor, charge.currency) != request.amount or charge.method != request.method:
            raise ProviderRefused("idempotency_key_reused")
        if charge.requests == 1 and behavior.first_response != "answer":
            timed_out = behavior.first_response == "timeout"
            raise ProviderUnavailable("the answer was lost" if timed_out else "500 from the provider")
        return charge.to_provider_charge()

    async def find_charge(self, key: str) -> ProviderCharge | None:
        refuse_in_transaction()
        async with self._context.reader() as reader:
            charge = await reader.get(SimulatedCharge, key)
        if charge is None or charge.status not in _FINAL:
            charge = await self.settle(key)  # on the writer: a replica may not have the charge yet
        return None if charge is None or charge.status == "unprocessed" else charge.to_provider_charge()

    async def settle(self, key: str) -> SimulatedCharge | None:
        """Return the charge with this key, or None. A slow charge that is due succeeds, and its webhook is queued."""
        return await self._context.transact(partial(self._settle, key=key))

    async def _settle(self, work: UnitOfWork, *, key: str) -> SimulatedCharge | None:
        charge = await work.get(SimulatedCharge, key, lock=True)
        if charge is not None and charge.settle(work.now):
            _enqueue_webhooks(work, charge)
        return charge

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        refuse_in_transaction()
        return await self._context.transact(partial(self._refund, key=key, charge_id=charge_id, amount=amount))

    async def _refund(self, work: UnitOfWork, *, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        charge = await lock_charge(work, charge_id)
        if charge is None or charge.status != "succeeded":
            raise ProviderRefused("charge_not_refundable")
        refund = await work.get(SimulatedRefund, key)
        if refund is None:
            refund = charge.refund(key, amount, work.now)
            work.add(refund)
        return refund.to_provider_refund()

    async def charges(self, *, after: str | None, limit: int) -> Sequence[ProviderCharge]:
        refuse_in_transaction()
        async with self._context.reader() as reader:
            return [charge.to_provider_charge() for charge in await charges_after(reader, after, limit)]

    def event(self, body: bytes, signature: str | None, *, now: datetime) -> ProviderEvent | None:
        verify(body, signature, self._secret, now=now, tolerance=self._settings.webhook_tolerance)
        return decode_event(body)

    def signature(self, body: bytes, *, now: datetime) -> str:
        """Return the signature header of a webhook with this body."""
        return sign(body, self._secret, now=now)


async def _charge_all(
    work: UnitOfWork, requests: Sequence[ChargeRequest], *, settlement: timedelta
) -> Sequence[SimulatedCharge | None]:
    rows = [_row(request, work.now, settlement) for request in requests]
    inserted = await insert_charges(work, rows)
    charges: list[SimulatedCharge | None] = []
    for request, row, is_new in zip(requests, rows, inserted, strict=True):
        charge = SimulatedCharge(**row) if is_new else await work.get(SimulatedCharge, request.key, lock=True)
        if is_new and charge is not None and charge.status == "succeeded":
            _enqueue_webhooks(work, charge)
        elif charge is not None and not is_new:
            charge.repeat()
        charges.append(charge)
    return charges


def _row(request: ChargeRequest, now: datetime, settlement: timedelta) -> dict[str, Any]:
    behavior = BEHAVIORS[request.method]
    return {
        "key": str(request.key),
        "charge_id": ChargeId.new(),
        "reference": str(request.reference),
        "amount_minor": request.amount.minor,
        "currency": request.amount.currency,
        "method": request.method,
        "status": behavior.status,
        "failure_reason": behavior.reason,
        "refunded_minor": 0,
        "settles_at": now + settlement if behavior.status == "processing" else None,
        "requests": 1,
        "created_at": now,
    }


def _enqueue_webhooks(work: UnitOfWork, charge: SimulatedCharge) -> None:
    """Queue the webhooks about `charge`, as many as its method sends; all carry the same event."""
    count = BEHAVIORS[charge.method].webhooks
    body = encode_event(charge.to_provider_charge(), int(work.now.timestamp())).decode() if count else ""
    for _ in range(count):
        work.add(SimulatedWebhook(body=body, send_at=work.now, attempts=0, created_at=work.now))


class _Object(BaseModel):
    """A charge or a refund in a webhook."""

    model_config = ConfigDict(extra="ignore", strict=True)

    object: Literal["charge", "refund"]
    id: str = Field(min_length=1, max_length=64, pattern="^[!-~]+$")
    key: str = Field(min_length=1, max_length=64, pattern="^[!-~]+$")
    status: ChargeStatus
    amount: int = Field(ge=0, le=10**15)
    refunded: int = Field(0, ge=0, le=10**15)
    currency: str = Field(pattern="^[A-Z]{3}$")
    failure_reason: str | None = Field(None, max_length=100, pattern="^[ -~]*$")


class _Content(BaseModel):
    model_config = ConfigDict(extra="ignore")

    object: _Object


class _Event(BaseModel):
    """A webhook. Its content is validated apart, because an event may be about anything."""

    model_config = ConfigDict(extra="ignore", strict=True)

    id: str = Field(min_length=1, max_length=255, pattern="^[!-~]+$")
    type: str = Field(min_length=1, max_length=100, pattern="^[!-~]+$")
    data: Any = None


def encode_event(charge: ProviderCharge, created: int) -> bytes:
    """Return the body of a webhook that reports the state of `charge`, in Stripe's shape."""
    content: dict[str, Any] = {
        "object": "charge",
        "id": charge.charge_id,
        "key": charge.key,
        "status": charge.status,
        "amount": charge.amount.minor,
        "refunded": charge.refunded.minor,
        "currency": charge.amount.currency,
        "failure_reason": charge.failure_reason,
    }
    event = {"id": EventId.new(), "type": f"charge.{charge.status}", "created": created, "data": {"object": content}}
    return orjson.dumps(event, default=str)


def decode_event(body: bytes) -> ProviderEvent | None:
    """Return the content of a webhook, or None if it is not an event of this provider."""
    try:
        event = _Event.model_validate_json(body)
    except ValidationError:
        return None
    try:
        content = _Content.model_validate(event.data).object
    except ValidationError:
        return ProviderEvent(event.id, event.type)
    amount = Money(content.amount, content.currency)
    if content.object == "refund":
        refund = ProviderRefund(content.id, content.key, content.status, amount, content.failure_reason)
        return ProviderEvent(event.id, event.type, refund=refund)
    charge = ProviderCharge(
        content.id,
        content.key,
        content.status,
        amount,
        Money(content.refunded, content.currency),
        content.failure_reason,
    )
    return ProviderEvent(event.id, event.type, charge=charge)
