"""What each method acts out."""

from dataclasses import dataclass
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portico.kit.foundation.money import Money
from portico.kit.foundation.problems import BadRequest
from portico.kit.messaging.event import EventId
from portico.services.payments.provider.domain import ChargeStatus, ProviderCharge, ProviderEvent, ProviderRefund

Meets = Literal["answer", "timeout", "error"]


@dataclass(frozen=True, slots=True)
class Act:
    """How the provider behaves.

    Args:
        status: of the charge once the first request is through; "lost" where that request was met with an error.
        reason: why it failed.
        meets: what the first request is met with.
        webhooks: how often it is told by webhook what became of the charge.
    """

    status: Literal["succeeded", "failed", "processing", "lost"]
    reason: str | None = None
    meets: Meets = "answer"
    webhooks: int = 0


ACTS: dict[str, Act] = {
    "pm_ok": Act("succeeded"),
    "pm_declined": Act("failed", reason="card_declined"),
    "pm_insufficient_funds": Act("failed", reason="insufficient_funds"),
    "pm_slow": Act("processing", webhooks=1),
    "pm_timeout_then_charged": Act("succeeded", meets="timeout", webhooks=1),
    "pm_error_then_ok": Act("lost", meets="error"),
    "pm_duplicate_webhook": Act("succeeded", webhooks=2),
}
"""The methods of payment that it knows. It tells by webhook what it has not said in its answer, and once too often."""


class _Object(BaseModel):
    """A charge or a refund as webhooks tell of it."""

    model_config = ConfigDict(extra="ignore", strict=True)

    object: Literal["charge", "refund"]
    id: str = Field(min_length=1, max_length=64, pattern="^[!-~]+$")
    key: str = Field(min_length=1, max_length=64, pattern="^[!-~]+$")
    status: ChargeStatus
    amount: int = Field(ge=0, le=10**15)
    refunded: int = Field(0, ge=0, le=10**15)
    currency: str = Field(pattern="^[A-Z]{3}$")
    failure_reason: str | None = Field(None, max_length=100, pattern="^[ -~]*$")


class _Data(BaseModel):
    object: _Object


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    id: str = Field(min_length=1, max_length=255, pattern="^[!-~]+$")
    type: str = Field(min_length=1, max_length=100, pattern="^[!-~]+$")
    created: int = Field(ge=0, le=10**11)
    data: _Data


def event_body(charge: ProviderCharge, created: int) -> bytes:
    """The body of a webhook that tells what became of `charge`, in Stripe's shape."""
    told: dict[str, Any] = {
        "object": "charge",
        "id": charge.charge_id,
        "key": charge.key,
        "status": charge.status,
        "amount": charge.amount.minor,
        "refunded": charge.refunded.minor,
        "currency": charge.amount.currency,
        "failure_reason": charge.failure_reason,
    }
    event = {"id": EventId.new(), "type": f"charge.{charge.status}", "created": created, "data": {"object": told}}
    return orjson.dumps(event, default=str)


def event_of(body: bytes) -> ProviderEvent:
    """What a webhook's body says. Raises BadRequest where it is no event of this provider."""
    try:
        event = _Event.model_validate_json(body)
    except ValidationError as error:
        raise BadRequest(reason="the body is no event of the provider") from error
    told = event.data.object
    amount = Money(told.amount, told.currency)
    if told.object == "refund":
        refund = ProviderRefund(told.id, told.key, told.status, amount, told.failure_reason)
        return ProviderEvent(event.id, event.type, refund=refund)
    charge = ProviderCharge(
        told.id, told.key, told.status, amount, Money(told.refunded, told.currency), told.failure_reason
    )
    return ProviderEvent(event.id, event.type, charge=charge)
