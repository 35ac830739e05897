"""The behaviour of each payment method, and the format of the webhooks."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portico.kit import BadRequest, EventId, Money
from portico.services.payments.provider import ChargeStatus, ProviderCharge, ProviderEvent, ProviderRefund


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


class _Data(BaseModel):
    object: _Object


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    id: str = Field(min_length=1, max_length=255, pattern="^[!-~]+$")
    type: str = Field(min_length=1, max_length=100, pattern="^[!-~]+$")
    created: int = Field(ge=0, le=10**11)
    data: _Data


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


def decode_event(body: bytes) -> ProviderEvent:
    """Return the content of a webhook. Raises BadRequest if it is not an event of this provider."""
    try:
        event = _Event.model_validate_json(body)
    except ValidationError as error:
        raise BadRequest(reason="the body is not an event of the provider") from error
    content = event.data.object
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
