"""A circuit breaker for one instance of a service.

It knows neither HTTP nor channels, so that whatever forwards or calls may use it.
"""

import enum
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic as system_monotonic

_SLICES = 10  # of the window: what is counted expires a tenth of the window at a time


class BreakerState(enum.StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """When a breaker opens, and for how long.

    Attributes:
        consecutive: Failures in a row that open it.
        ratio: Part of the window's calls (0 to 1) whose failure opens it.
        least: Calls in the window before the ratio counts: one failure of two is no sign.
        window: Seconds that the ratio looks back.
        open_for: Seconds open before a trial; doubled each time the trial fails.
        longest: Limit in seconds of that doubling.
        trials: Calls let through, and needed to succeed, before it closes.
    """

    consecutive: int = 5
    ratio: float = 0.5
    least: int = 20
    window: float = 10.0
    open_for: float = 5.0
    longest: float = 60.0
    trials: int = 1


USUAL = BreakerConfig()


class Breaker:
    """Opens on failures, lets trial calls through after a while, closes when they succeed.

    Each call is a `Permit` that its caller ends exactly once, so that a trial can't be forgotten. What was begun
    before the state last changed says nothing about the present and is ignored.

    Args:
        tripping: When it opens, and for how long.
        monotonic: The clock, in seconds.
    """

    __slots__ = (
        "_config",
        "_early",
        "_epoch",
        "_in_a_row",
        "_monotonic",
        "_on_trial",
        "_opened_at",
        "_period",
        "_slices",
        "_state",
        "_well",
        "openings",
    )  # fmt: skip

    def __init__(self, config: BreakerConfig = USUAL, monotonic: Callable[[], float] = system_monotonic) -> None:
        self._config = config
        self._monotonic = monotonic
        self._state = BreakerState.CLOSED
        self._period = config.open_for
        self._opened_at = 0.0
        self._early = False  # whether the trial under way came before its time, knocking
        self._epoch = 0
        self._in_a_row = 0
        self._on_trial = 0
        self._well = 0
        self._slices: deque[_Slice] = deque(maxlen=_SLICES + 1)
        self.openings = 0

    @property
    def state(self) -> BreakerState:
        """The state now: an open breaker whose time is up is half open."""
        if self._state is BreakerState.OPEN and self._remaining() <= 0:
            return BreakerState.HALF_OPEN
        return self._state

    @property
    def retry_after(self) -> float:
        """Seconds until a call may be let through; 0 where one may be now."""
        if self._state is BreakerState.CLOSED:
            return 0.0
        if self._state is BreakerState.OPEN:
            return max(0.0, self._remaining())
        return 0.0 if self._on_trial + self._well < self._config.trials else 1.0

    def admits(self) -> bool:
        """Whether `enter` would let a call through; changes nothing."""
        return self._state is BreakerState.CLOSED or self.retry_after == 0.0

    def enter(self, *, probe: bool = False) -> "Permit | None":
        """Let a call through: its passage, or None where the breaker is open.

        One that is `probe` is a trial at once, however long the breaker would stay open, unless one is under way.
        """
        if self._state is not BreakerState.CLOSED:
            if not self.admits() and not (probe and self._state is BreakerState.OPEN):
                return None
            if self._state is BreakerState.OPEN:
                self._early = self._remaining() > 0
                self._turn(BreakerState.HALF_OPEN)
            self._on_trial += 1
        return Permit(self, self._epoch)

    def _remaining(self) -> float:
        return self._opened_at + self._period - self._monotonic()

    def _turn(self, state: BreakerState) -> None:
        self._state = state
        self._epoch += 1
        self._in_a_row = self._on_trial = self._well = 0
        self._slices.clear()

    def _succeeded(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._on_trial -= 1
            self._well += 1
            if self._well >= self._config.trials:
                self._period = self._config.open_for
                self._turn(BreakerState.CLOSED)
            return
        self._in_a_row = 0
        self._slice().calls += 1

    def _failed(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        if self._state is BreakerState.HALF_OPEN and self._early:
            self._turn(BreakerState.OPEN)  # who knocks in vain makes nobody else wait longer
            return
        if self._state is BreakerState.HALF_OPEN:
            self._period = min(self._period * 2, self._config.longest)
            self._open()
            return
        self._in_a_row += 1
        current = self._slice()
        current.calls += 1
        current.failures += 1
        if self._in_a_row >= self._config.consecutive or self._fails_too_often():
            self._open()

    def _abandoned(self, epoch: int) -> None:
        if epoch == self._epoch and self._state is BreakerState.HALF_OPEN:
            self._on_trial -= 1

    def _open(self) -> None:
        self._opened_at = self._monotonic()
        self.openings += 1
        self._turn(BreakerState.OPEN)

    def _slice(self) -> "_Slice":
        now = self._monotonic()
        if not self._slices or now - self._slices[-1].since >= self._config.window / _SLICES:
            self._slices.append(_Slice(now))
        return self._slices[-1]

    def _fails_too_often(self) -> bool:
        oldest = self._monotonic() - self._config.window
        recent = [each for each in self._slices if each.since >= oldest]
        calls = sum(each.calls for each in recent)
        failures = sum(each.failures for each in recent)
        return calls >= self._config.least and failures >= self._config.ratio * calls


class Permit:
    """One call that a breaker let through. The first end counts; later ones do nothing."""

    __slots__ = ("_breaker", "_epoch")

    def __init__(self, breaker: Breaker, epoch: int) -> None:
        self._breaker: Breaker | None = breaker
        self._epoch = epoch

    def succeeded(self) -> None:
        """The instance answered."""
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker._succeeded(self._epoch)  # noqa: SLF001 - two halves of one thing

    def failed(self) -> None:
        """The instance did not answer, or a proxy in front of it said so."""
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker._failed(self._epoch)  # noqa: SLF001 - as above: two halves

    def abandoned(self) -> None:
        """The caller went away: this says nothing about the instance."""
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker._abandoned(self._epoch)  # noqa: SLF001 - as above: two halves


@dataclass(slots=True)
class _Slice:
    since: float
    calls: int = 0
    failures: int = 0


_FROM_A_PROXY = frozenset({502, 503, 504})


def is_proxy_error(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an answer says that its instance can't serve.

    A problem document (RFC 9457) is the service's own considered answer, be it 503 for want of a neighbour: ejecting
    the instance for it would take down what it can still serve. A bare 502, 503 or 504 comes from what stands before it.

    Args:
        status: The HTTP status.
        headers: Name and value pairs, names in lower case.
    """
    if status not in _FROM_A_PROXY:
        return False
    kinds = (value for name, value in headers if name == b"content-type")
    return not any(kind.startswith(b"application/problem+json") for kind in kinds)
