"""The interface of a payment provider, in Stripe's shape: idempotent charges and refunds, a list, signed webhooks.

`sign`, `verify` and `refuse_in_transaction` are for implementations of it.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

from portico.kit import Money, ServiceContext
from portico.kit.data import current_unit_of_work
from portico.services.payments.errors import SignatureInvalid, SignatureOld

ChargeStatus = Literal["processing", "succeeded", "failed"]

SIGNATURE_HEADER: Final = "webhook-signature"
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_MAX_PARTS: Final = 20  # one timestamp, and one signature per secret while the secret is rotated


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """A charge to be made.

    Args:
        key: the idempotency key; the provider charges at most once per key.
        amount: greater than zero.
        method: the provider's name for the payment method.
        reference: our name for what is paid, shown in the provider's lists.
    """

    key: str
    amount: Money
    method: str
    reference: str


@dataclass(frozen=True, slots=True)
class ProviderCharge:
    """A charge as the provider knows it. `refunded` is the sum of its refunds."""

    charge_id: str
    key: str
    status: ChargeStatus
    amount: Money
    refunded: Money
    failure_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderRefund:
    """A refund as the provider knows it."""

    refund_id: str
    key: str
    status: Literal["processing", "succeeded", "failed"]
    amount: Money
    failure_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """The content of a webhook: the state of a charge or of a refund. Both are None for other events."""

    event_id: str
    type: str
    charge: ProviderCharge | None = None
    refund: ProviderRefund | None = None


class ProviderUnavailable(Exception):
    """The provider gave no outcome: the request may have taken effect, or may do so later. Look it up by its key."""


class ProviderRefused(Exception):
    """The provider refused and did nothing. `reason` is the provider's code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PaymentProvider(Protocol):
    """Moves the money. Its methods must not be called while a transaction is open; implementations check that."""

    @property
    def name(self) -> str:
        """The provider's name in `POST /payments/webhooks/{name}`."""

    async def charge(self, request: ChargeRequest) -> ProviderCharge:
        """Charge once per `request.key`; a repeat returns the current state of the same charge.

        Raises ProviderRefused, ProviderUnavailable.
        """

    async def find_charge(self, key: str) -> ProviderCharge | None:
        """Return the charge with this idempotency key, or None. Raises ProviderUnavailable."""

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        """Refund once per `key`; a repeat returns the same refund. Raises ProviderRefused, ProviderUnavailable."""

    async def charges(self, *, after: str | None, limit: int) -> Sequence[ProviderCharge]:
        """Return the charges after the charge with the id `after`, oldest first. Raises ProviderUnavailable."""

    def event(self, body: bytes, signature: str | None, *, now: datetime) -> ProviderEvent | None:
        """Verify a webhook and return its content, or None if it has a valid signature and cannot be read.

        Raises SignatureInvalid, SignatureOld.
        """


def provider_of(context: ServiceContext) -> PaymentProvider:
    """Return the provider that the service uses."""
    return context.resource(PaymentProvider)  # type: ignore[type-abstract]  # used as a key, never instantiated


class CalledInTransaction(RuntimeError):
    """The provider was called in an open transaction, whose locks would be held for the whole call."""


def refuse_in_transaction() -> None:
    """Raise CalledInTransaction if the current task has an open transaction."""
    work = current_unit_of_work.get()
    if work is not None and work.has_begun:
        raise CalledInTransaction("commit the intent first, then call the provider, then record the outcome")


def sign(body: bytes, secret: bytes, *, now: datetime) -> str:
    """Return the signature header for `body`.

    It is written like Stripe's: `t=<seconds>,v1=<HMAC-SHA256 of "t.body" in hexadecimal>`.
    """
    timestamp = str(int(now.timestamp()))
    return f"t={timestamp},v1={_digest(timestamp, body, secret)}"


def verify(body: bytes, header: str | None, secret: bytes, *, now: datetime, tolerance: float) -> None:
    """Check that `header` is a signature of `body`, made within `tolerance` seconds of `now`.

    The age is checked last, so that a caller without the secret cannot learn about the clock.

    Raises:
        SignatureInvalid: the signature is missing, malformed, or made for another body or with another secret.
        SignatureOld: the signature is valid but was made at another time.
    """
    if not header:
        raise SignatureInvalid(reason=f"the header {SIGNATURE_HEADER} is missing")
    parts = [part.strip().partition("=") for part in header.split(",", _MAX_PARTS)]
    times = [value for name, _, value in parts if name == "t"]
    signatures = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not signatures or _TIMESTAMP.fullmatch(times[0]) is None:
        raise SignatureInvalid(reason="the header does not have the form t=…,v1=…")
    expected = _digest(times[0], body, secret).encode()
    if not any(hmac.compare_digest(expected, each.encode()) for each in signatures):
        raise SignatureInvalid(reason="the signature does not match")
    age = now.timestamp() - int(times[0])
    if abs(age) > tolerance:
        raise SignatureOld(reason=f"{abs(age):.0f} s {'ago' if age > 0 else 'in the future'}")


def _digest(timestamp: str, body: bytes, secret: bytes) -> str:
    return hmac.digest(secret, timestamp.encode("ascii") + b"." + body, "sha256").hex()
