"""The result of a drill."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Breach:
    """A broken invariant.

    Args:
        invariant: the invariant.
        message: what is wrong, a sentence.
        subject: the id of the order or booking that it concerns, if any.
    """

    invariant: str
    message: str
    subject: str | None = None


@dataclass
class Report:
    """The result of a drill.

    Attributes:
        seed: the same seed gives the same faults.
        outcomes: the number of orders or bookings by final status.
        injected: the number of faults by place and kind.
        points: the number of places where a fault was possible.
        crashes: the number of services that crashed and were restarted.
        checked: the number of objects that each invariant checked.
        breaches: the broken invariants.
        history: what happened to an order or a booking that broke an invariant, line by line.
        seconds: the duration.
    """

    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    points: int = 0
    crashes: int = 0
    checked: dict[str, int] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.breaches
