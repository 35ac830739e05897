"""What a drill found."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Breach:
    """Something that must be true and is not.

    Args:
        rule: which of the rules.
        said: what is the matter, in a sentence.
        order_id: of which order; None where it is not about one.
    """

    rule: str
    said: str
    order_id: str | None = None


@dataclass
class Report:
    """A drill from its seed to its end.

    Attributes:
        seed: the same seed gives the same faults.
        orders: how many were placed, by how they ended.
        injected: faults, by place and kind.
        points: places where a fault might have struck.
        crashes: services that died and were started again.
        checked: how much each rule was applied to.
        breaches: what was not as it must be.
        story: what became of an order that broke a rule, line by line.
        seconds: how long it took.
    """

    seed: int
    orders: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    points: int = 0
    crashes: int = 0
    checked: dict[str, int] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.breaches
