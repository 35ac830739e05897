"""Circuit breaker for one instance of a service. It is independent of HTTP and channels."""

import enum
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic as system_monotonic

from portico.kit.foundation.backoff import Backoff

_SLICES = 10  # parts of the window; counts expire one part at a time


class BreakerState(enum.StrEnum):
    """State of a breaker: closed lets calls through, open rejects them, half open lets trial calls through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """Thresholds of a breaker.

    Attributes:
        consecutive: number of consecutive failures that open it.
        ratio: share (0 to 1) of failed calls in the window that opens it.
        min_calls: minimum number of calls in the window for the ratio to apply.
        window: length (seconds) of the window.
        open_for: how long (seconds) it stays open before a trial; doubled after each failed trial.
        max_open_for: maximum (seconds) of that doubling.
        trials: number of trial calls that must succeed before it closes.
    """

    consecutive: int = 5
    ratio: float = 0.5
    min_calls: int = 20
    window: float = 10.0
    open_for: float = 5.0
    max_open_for: float = 60.0
    trials: int = 1


DEFAULT_CONFIG = BreakerConfig()


class Breaker:
    """Circuit breaker: opens after failures, lets trial calls through after a while, and closes when they succeed.

    Each call has a `Permit` that its caller ends exactly once, so every trial gets a result. Calls that started before
    the last change of state are ignored.

    Args:
        config: thresholds.
        monotonic: the clock, in seconds.
    """

    __slots__ = (
        "_backoff",
        "_config",
        "_consecutive_failures",
        "_epoch",
        "_failed_trials",
        "_is_early_probe",
        "_monotonic",
        "_opened_at",
        "_slice_seconds",
        "_slices",
        "_state",
        "_trials_in_flight",
        "_trials_succeeded",
        "openings",
    )  # fmt: skip

    def __init__(
        self, config: BreakerConfig = DEFAULT_CONFIG, monotonic: Callable[[], float] = system_monotonic
    ) -> None:
        self._config = config
        self._monotonic = monotonic
        self._state = BreakerState.CLOSED
        self._backoff = Backoff(base=config.open_for, limit=config.max_open_for, jitter=0.0)
        self._failed_trials = 0
        self._opened_at = 0.0
        self._is_early_probe = False  # whether the current trial is an early probe
        self._epoch = 0
        self._consecutive_failures = 0
        self._trials_in_flight = 0
        self._trials_succeeded = 0
        self._slices: deque[_Slice] = deque(maxlen=_SLICES + 1)
        self._slice_seconds = config.window / _SLICES
        self.openings = 0

    @property
    def state(self) -> BreakerState:
        """The current state. An open breaker becomes half open when its waiting time is over."""
        if self._state is BreakerState.OPEN and self._remaining() <= 0:
            return BreakerState.HALF_OPEN
        return self._state

    @property
    def retry_after(self) -> float:
        """Seconds until a call may be let through; 0 if one may be now."""
        if self._state is BreakerState.CLOSED:
            return 0.0
        if self._state is BreakerState.OPEN:
            return max(0.0, self._remaining())
        return 0.0 if self._trials_in_flight + self._trials_succeeded < self._config.trials else 1.0

    def admits(self) -> bool:
        """Return whether `enter` would let a call through, without changing the state."""
        return self._state is BreakerState.CLOSED or self.retry_after == 0.0

    def enter(self, *, probe: bool = False) -> "Permit | None":
        """Return the permit for a call, or None if the breaker is open.

        A `probe` becomes a trial at once, even if the breaker would stay open longer, unless a trial is in flight.
        """
        epoch = self.begin(probe=probe)
        return None if epoch is None else Permit(self, epoch)

    def begin(self, *, probe: bool = False) -> int | None:
        """Let a call through like `enter`, for a permit of another class. Return the epoch of the permit."""
        if self._state is not BreakerState.CLOSED:
            if not self.admits() and not (probe and self._state is BreakerState.OPEN):
                return None
            if self._state is BreakerState.OPEN:
                self._is_early_probe = self._remaining() > 0
                self._turn(BreakerState.HALF_OPEN)
            self._trials_in_flight += 1
        return self._epoch

    def _remaining(self) -> float:
        return self._opened_at + self._backoff.delay(self._failed_trials + 1) - self._monotonic()

    def _turn(self, state: BreakerState) -> None:
        self._state = state
        self._epoch += 1
        self._consecutive_failures = self._trials_in_flight = self._trials_succeeded = 0
        self._slices.clear()

    def _record_success(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._trials_in_flight -= 1
            self._trials_succeeded += 1
            if self._trials_succeeded >= self._config.trials:
                self._failed_trials = 0
                self._turn(BreakerState.CLOSED)
            return
        self._consecutive_failures = 0
        slices = self._slices
        if slices and self._monotonic() - slices[-1].since < self._slice_seconds:
            slices[-1].calls += 1
        else:
            self._slice().calls += 1

    def _record_failure(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        if self._state is BreakerState.HALF_OPEN and self._is_early_probe:
            self._turn(BreakerState.OPEN)  # a failed probe does not extend the waiting time
            return
        if self._state is BreakerState.HALF_OPEN:
            self._failed_trials += 1
            self._open()
            return
        self._consecutive_failures += 1
        current = self._slice()
        current.calls += 1
        current.failures += 1
        if self._consecutive_failures >= self._config.consecutive or self._exceeds_ratio():
            self._open()

    def _record_abandoned(self, epoch: int) -> None:
        if epoch == self._epoch and self._state is BreakerState.HALF_OPEN:
            self._trials_in_flight -= 1

    def _open(self) -> None:
        self._opened_at = self._monotonic()
        self.openings += 1
        self._turn(BreakerState.OPEN)

    def _slice(self) -> "_Slice":
        now = self._monotonic()
        if not self._slices or now - self._slices[-1].since >= self._slice_seconds:
            self._slices.append(_Slice(now))
        return self._slices[-1]

    def _exceeds_ratio(self) -> bool:
        oldest = self._monotonic() - self._config.window
        recent = [each for each in self._slices if each.since >= oldest]
        calls = sum(each.calls for each in recent)
        failures = sum(each.failures for each in recent)
        return calls >= self._config.min_calls and failures >= self._config.ratio * calls


class Permit:
    """Permit for one call that a breaker let through. Only the first report of its end counts."""

    __slots__ = ("_breaker", "_epoch")

    def __init__(self, breaker: Breaker, epoch: int) -> None:
        self._breaker: Breaker | None = breaker
        self._epoch = epoch

    def record_success(self) -> None:
        """Report that the instance responded."""
        if (breaker := self._end()) is not None:
            breaker._record_success(self._epoch)  # noqa: SLF001 - a permit is part of its breaker

    def record_failure(self) -> None:
        """Report that the instance did not respond, or that a proxy in front of it reported an error."""
        if (breaker := self._end()) is not None:
            breaker._record_failure(self._epoch)  # noqa: SLF001 - a permit is part of its breaker

    def record_abandoned(self) -> None:
        """Report that the caller gave up, which says nothing about the instance."""
        if (breaker := self._end()) is not None:
            breaker._record_abandoned(self._epoch)  # noqa: SLF001 - a permit is part of its breaker

    def _end(self) -> Breaker | None:
        breaker, self._breaker = self._breaker, None
        return breaker


@dataclass(slots=True)
class _Slice:
    since: float
    calls: int = 0
    failures: int = 0


PROXY_ERRORS = frozenset({502, 503, 504})


def is_proxy_error(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a response says that the instance cannot serve.

    A problem document (RFC 9457) comes from the service itself, even a 503 because a service that it calls is
    unavailable. Such an instance can still serve other requests, so it is not ejected. A 502, 503 or 504 without a
    problem document comes from a proxy in front of the instance.

    Args:
        status: the HTTP status.
        headers: name and value pairs, names in lower case.
    """
    if status not in PROXY_ERRORS:
        return False
    kinds = (value for name, value in headers if name == b"content-type")
    return not any(kind.startswith(b"application/problem+json") for kind in kinds)
