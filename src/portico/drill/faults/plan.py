"""Which fault occurs where. The seed alone decides, so that the same seed gives the same faults."""

import random
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["crash", "drop", "duplicate", "reorder", "timeout", "slow", "database"]
Site = Literal["commit", "publish", "delivery", "call"]

ALL_FAULTS: tuple[Kind, ...] = get_args(Kind)

_AT: Mapping[Site, tuple[Kind, ...]] = {
    "commit": ("crash", "database", "slow"),
    "publish": ("crash", "drop", "duplicate", "reorder", "slow"),
    "delivery": ("crash", "drop", "duplicate", "slow"),
    "call": ("crash", "drop", "duplicate", "timeout", "slow"),
}
"""The possible faults at each kind of place."""

_WEIGHTS: Mapping[Kind, float] = {"crash": 0.15}
"""The weight of a fault if it is not 1. Crashes are rarer, because they abort all work in flight."""


class UnknownFault(ValueError):
    """A fault with an unknown name was requested."""


def fault_kinds(text: str) -> tuple[Kind, ...]:
    """Parse a comma-separated list of kinds. Raises UnknownFault."""
    names = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [name for name in names if name not in ALL_FAULTS]
    if unknown or not names:
        raise UnknownFault(f"Unknown faults: {', '.join(unknown) or '(none named)'}. Known: {', '.join(ALL_FAULTS)}.")
    return tuple(kind for kind in ALL_FAULTS if kind in names)


@dataclass(frozen=True, slots=True)
class Point:
    """A place where a fault may occur: the `number`th time that `service` reaches a `site`."""

    service: str
    site: Site
    number: int

    def __str__(self) -> str:
        return f"{self.service}'s {self.site} {self.number}"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault at a point.

    Args:
        kind: of the fault.
        before: whether it occurs before the operation takes effect, or afterwards, with the response lost.
        seconds: the delay, for a slow operation.
    """

    kind: Kind
    before: bool
    seconds: float


class FaultPlan:
    """The faults of a run.

    Each point has its own random number, derived from the seed, the service, the site and how often the service
    reached it. So the same seed gives the same faults in whatever order services reach their points.

    Args:
        seed: of the run.
        kinds: of faults.
        rate: the share of points at which a fault occurs, 0 to 1.
        longest: maximum delay of a slow operation, in seconds.
    """

    def __init__(
        self, seed: int, kinds: Collection[Kind] = ALL_FAULTS, *, rate: float = 0.05, longest: float = 0.05
    ) -> None:
        self.seed = seed
        self.kinds = tuple(kinds)
        self.rate = rate
        self.longest = longest
        self.active = True
        self.injected: Counter[tuple[Site, Kind]] = Counter()
        self.points: Counter[Site] = Counter()
        self._visits: Counter[tuple[str, Site]] = Counter()

    def next(self, service: str, site: Site) -> Fault | None:
        """Return the fault as `service` reaches `site`, or None."""
        if not self.active:
            return None
        self._visits[service, site] += 1
        self.points[site] += 1
        fault = self.at(Point(service, site, self._visits[service, site]))
        if fault is not None:
            self.injected[site, fault.kind] += 1
        return fault

    def at(self, point: Point) -> Fault | None:
        """Return the fault at a point, or None."""
        chance = random.Random(f"{self.seed}/{point.service}/{point.site}/{point.number}")  # noqa: S311  # repeatable, not secret
        possible = [kind for kind in _AT[point.site] if kind in self.kinds]
        if not possible or chance.random() >= self.rate:
            return None
        [kind] = chance.choices(possible, [_WEIGHTS.get(each, 1.0) for each in possible])
        return Fault(kind, before=chance.random() < 0.5, seconds=chance.uniform(0.001, self.longest))  # noqa: PLR2004  # in half of the cases
