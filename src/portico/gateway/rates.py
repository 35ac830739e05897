"""How many requests a caller may make, and how an answer says so."""

import math
from dataclasses import dataclass
from typing import Literal

Counted = Literal["caller", "address"]


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `requests` in `seconds`.

    Args:
        name: What a route calls it, and what the `RateLimit` field names.
        requests: How many.
        seconds: The length of the window.
        per: Who is counted: the signed-in caller (else the address it calls from), or always the address.
    """

    name: str
    requests: int
    seconds: int
    per: Counted = "caller"

    @property
    def policy_field(self) -> bytes:
        """The `RateLimit-Policy` field (draft-ietf-httpapi-ratelimit-headers-10, section 3)."""
        return f'"{self.name}";q={self.requests};w={self.seconds}'.encode()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a limiter found for one request.

    Args:
        rate: The rate that was asked.
        allowed: Whether the request is within it.
        remaining: How many more would be allowed now.
        reset: Seconds until the window in which this request is counted ends.
        retry_after: Seconds until one more request would be allowed; 0 where it already would be.
    """

    rate: Rate
    allowed: bool
    remaining: int
    reset: float
    retry_after: float = 0.0

    def fields(self) -> list[tuple[bytes, bytes]]:
        """`RateLimit` and `RateLimit-Policy` for the answer (draft-ietf-httpapi-ratelimit-headers-10)."""
        state = f'"{self.rate.name}";r={self.remaining};t={math.ceil(self.reset)}'.encode()
        return [(b"ratelimit", state), (b"ratelimit-policy", self.rate.policy_field)]


def judge(rate: Rate, now: float, previous: int, current: int) -> Verdict:
    """The sliding window: what the last window held, by the share of it still in sight, and what this one holds.

    Two numbers a caller instead of a time stamp a request; exact for a steady caller, and never more than `requests`
    in an aligned window.

    Args:
        rate: The rate asked.
        now: Seconds since the epoch.
        previous: Requests counted in the window before.
        current: Requests counted in this window, without this one.
    """
    elapsed = now % rate.seconds
    left = rate.seconds - elapsed
    used = previous * left / rate.seconds + current
    if used + 1 <= rate.requests:
        return Verdict(rate, True, int(rate.requests - used - 1), left)
    return Verdict(rate, False, 0, left, _wait(rate, elapsed, previous, current))


def _wait(rate: Rate, elapsed: float, previous: int, current: int) -> float:
    """Seconds until one more fits: in this window if the last one's share shrinks enough, else in the next."""
    room = rate.requests - 1 - current
    if room >= 0:
        return (1 - room / previous) * rate.seconds - elapsed
    return rate.seconds - elapsed + (1 - (rate.requests - 1) / current) * rate.seconds
