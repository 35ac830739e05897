"""Rate limits: their definition, the sliding window, and a limiter that counts in this process."""

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

from portico.kit.foundation.clock import Clock

RateScope = Literal["caller", "address"]


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit: at most `requests` in `seconds`.

    Args:
        name: The name that routes and the `RateLimit` header use.
        requests: Maximum number of requests in a window.
        seconds: Length of the window.
        scope: What is counted: the signed-in caller (the address if anonymous), or always the address.
    """

    name: str
    requests: int
    seconds: int
    scope: RateScope = "caller"

    policy_field: bytes = field(init=False, repr=False, compare=False)
    """The `RateLimit-Policy` value (draft-ietf-httpapi-ratelimit-headers-10, section 3)."""

    def __post_init__(self) -> None:
        value = f'"{self.name}";q={self.requests};w={self.seconds}'.encode()
        object.__setattr__(self, "policy_field", value)


@dataclass(slots=True)
class Verdict:
    """The result of a rate limit check. Not frozen, because one is created for each request.

    Args:
        rate: The rate that was checked.
        allowed: Whether the request is within the rate.
        remaining: How many more requests are allowed now.
        reset: Seconds until the current window ends.
        retry_after: Seconds until another request is allowed; 0 if it is allowed now.
    """

    rate: Rate
    allowed: bool
    remaining: int
    reset: float
    retry_after: float = 0.0

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return the `RateLimit` and `RateLimit-Policy` headers (draft-ietf-httpapi-ratelimit-headers-10)."""
        state = f'"{self.rate.name}";r={self.remaining};t={math.ceil(self.reset)}'.encode()
        return [(b"ratelimit", state), (b"ratelimit-policy", self.rate.policy_field)]


def check_rate(rate: Rate, now: float, previous: int, current: int) -> Verdict:
    """Check one request against a sliding window.

    The previous window counts in proportion to its overlap with the sliding window. This needs two counters per caller
    instead of a time stamp per request. It is exact for a steady caller and never allows more than `requests` in an
    aligned window.

    Args:
        rate: The rate to check.
        now: Seconds of the clock by which the windows are aligned.
        previous: Requests counted in the previous window.
        current: Requests counted in the current window, without this one.
    """
    elapsed = now % rate.seconds
    left = rate.seconds - elapsed
    used = previous * left / rate.seconds + current
    if used + 1 <= rate.requests:
        return Verdict(rate, True, int(rate.requests - used - 1), left)
    return Verdict(rate, False, 0, left, _wait(rate, elapsed, previous, current))


def _wait(rate: Rate, elapsed: float, previous: int, current: int) -> float:
    """Return the seconds until another request fits: in this window if the overlap shrinks enough, else in the next."""
    room = rate.requests - 1 - current
    if room >= 0:
        return (1 - room / previous) * rate.seconds - elapsed
    return rate.seconds - elapsed + (1 - (rate.requests - 1) / current) * rate.seconds


class Bucket(Protocol):
    """The count of one key against one rate."""

    def take(self) -> Verdict:
        """Count one request if it is within the rate. Refused requests are not counted."""

    def take_fields(self) -> bytes | None:
        """Count one request like `take`. Return the encoded headers of `Verdict.fields`; None if it is refused."""


class Limiter(Protocol):
    """Counts requests against rates, separately for each key."""

    def bucket(self, rate: Rate, key: str) -> Bucket | None:
        """Return the bucket that counts the requests of `key` without I/O; None if counting needs I/O."""

    async def take(self, rate: Rate, key: str) -> Verdict:
        """Count one request of `key` if it is within the rate. Refused requests are not counted."""

    async def aclose(self) -> None:
        """Release connections and memory."""


MAX_KEYS = 100_000


class MemoryLimiter:
    """Limiter that counts in this process, with two dictionaries per rate: the current and the previous window.

    Args:
        clock: Source of the time.
        max_keys: Maximum number of keys per rate and window. Beyond it the oldest key is dropped, so that many
            different addresses cannot exhaust the memory.
    """

    def __init__(self, clock: Clock, *, max_keys: int = MAX_KEYS) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._windows: dict[Rate, _Windows] = {}

    async def take(self, rate: Rate, key: str) -> Verdict:
        return self.bucket(rate, key).take()

    def bucket(self, rate: Rate, key: str) -> "MemoryBucket":
        windows = self._windows.get(rate)
        if windows is None:
            windows = self._windows[rate] = _Windows(rate, self._clock, self._max_keys)
        return MemoryBucket(windows, key)

    async def aclose(self) -> None:
        self._windows.clear()


class MemoryBucket:
    """The count of one key, stored with the counts of all keys of the rate. It stays valid as long as the limiter."""

    __slots__ = ("_key", "_windows")

    def __init__(self, windows: "_Windows", key: str) -> None:
        self._windows = windows
        self._key = key

    def take(self) -> Verdict:
        return self._windows.take(self._key)

    def take_fields(self) -> bytes | None:
        return self._windows.take_fields(self._key)


class _Windows:
    """The counts of all keys of one rate."""

    __slots__ = ("_clock", "_end", "_format", "_max_keys", "_rate", "current", "index", "previous")

    def __init__(self, rate: Rate, clock: Clock, max_keys: int) -> None:
        self.index = 0
        self._end = float(rate.seconds)  # of the current window, by the monotonic clock
        self.current: dict[str, int] = {}
        self.previous: dict[str, int] = {}
        self._rate = rate
        self._clock = clock
        self._max_keys = max_keys
        state, policy = f'ratelimit: "{rate.name}";r=%d;t=%d', rate.policy_field
        self._format = b"%b\r\nratelimit-policy: %b\r\n" % (state.encode(), policy.replace(b"%", b"%%"))

    def take(self, key: str) -> Verdict:
        # The clock is monotonic, because every caller would have to wait if the wall clock were set back.
        now = self._clock.monotonic()
        index = int(now // self._rate.seconds)
        if index > self.index:
            self._advance_to(index)
        current = self.current.get(key, 0)
        verdict = check_rate(self._rate, now, self.previous.get(key, 0), current)
        if verdict.allowed:
            self._count(key, current + 1)
        return verdict

    def take_fields(self, key: str) -> bytes | None:
        rate = self._rate
        now = self._clock.monotonic()
        if now >= self._end:
            self._advance_to(int(now // rate.seconds))
        left = self._end - now
        current = self.current.get(key, 0)
        used = current + (self.previous.get(key, 0) * left / rate.seconds if self.previous else 0) + 1
        if used > rate.requests:
            return None
        if current:
            self.current[key] = current + 1
        else:
            self._count(key, 1)
        return self._format % (rate.requests - used, math.ceil(left))

    def _count(self, key: str, count: int) -> None:
        if count == 1 and len(self.current) >= self._max_keys:
            del self.current[next(iter(self.current))]
        self.current[key] = count

    def _advance_to(self, index: int) -> None:
        self.previous = self.current if index == self.index + 1 else {}
        self.current = {}
        self.index = index
        self._end = float((index + 1) * self._rate.seconds)
