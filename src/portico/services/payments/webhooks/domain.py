"""The signature of a webhook, as Stripe writes it: `t=<seconds>,v1=<HMAC-SHA256 of "t.body" in hexadecimal>`."""

import hmac
import re
from datetime import datetime

from portico.services.payments.webhooks.errors import SignatureInvalid, SignatureOld

SIGNATURE_HEADER = "webhook-signature"
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_MOST_PARTS = 20  # a header says one time and, while a secret is being changed, a signature by each


def sign(body: bytes, secret: bytes, *, now: datetime) -> str:
    """The header for `body`, signed at `now`."""
    timestamp = str(int(now.timestamp()))
    return f"t={timestamp},v1={_digest(timestamp, body, secret)}"


def verify(body: bytes, header: str | None, secret: bytes, *, now: datetime, tolerance: float) -> None:
    """See that `header` signs `body`, not longer than `tolerance` seconds ago.

    Who does not hold the secret is told nothing of time: that is looked at once the signature is known to be good.

    Raises:
        SignatureInvalid: it is missing, unreadable, or of another body or secret.
        SignatureOld: it is good, and from another time.
    """
    if not header:
        raise SignatureInvalid(reason=f"the header {SIGNATURE_HEADER} is missing")
    parts = [part.strip().partition("=") for part in header.split(",", _MOST_PARTS)]
    times = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not given or _TIMESTAMP.fullmatch(times[0]) is None:
        raise SignatureInvalid(reason="the header is not of the form t=…,v1=…")
    expected = _digest(times[0], body, secret).encode()
    if not any(hmac.compare_digest(expected, each.encode()) for each in given):
        raise SignatureInvalid(reason="the signature does not fit")
    age = now.timestamp() - int(times[0])
    if abs(age) > tolerance:
        raise SignatureOld(reason=f"{abs(age):.0f} s {'ago' if age > 0 else 'ahead of this clock'}")


def _digest(timestamp: str, body: bytes, secret: bytes) -> str:
    return hmac.digest(secret, timestamp.encode("ascii") + b"." + body, "sha256").hex()
