"""Which fault strikes where: decided by the seed alone, so that the same seed gives the same faults."""

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
"""What can go wrong at each kind of place."""

_WEIGHTS: Mapping[Kind, float] = {"crash": 0.15}
"""How much rarer a fault is than the others: a crash takes all that a service has in flight with it."""


class UnknownFault(ValueError):
    """A fault was named that there is none of."""


def fault_kinds(text: str) -> tuple[Kind, ...]:
    """The kinds in a comma-separated list. Raises UnknownFault."""
    names = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [name for name in names if name not in ALL_FAULTS]
    if unknown or not names:
        raise UnknownFault(f"There is no fault {', '.join(unknown) or '(none named)'}. Known: {', '.join(ALL_FAULTS)}.")
    return tuple(kind for kind in ALL_FAULTS if kind in names)


@dataclass(frozen=True, slots=True)
class Point:
    """A place where a fault may strike: the `number`th time that `service` comes to a `site`."""

    service: str
    site: Site
    number: int

    def __str__(self) -> str:
        return f"{self.service}'s {self.site} {self.number}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at a point.

    Args:
        kind: what.
        before: whether it strikes before the thing took effect, or after it, with the answer lost.
        seconds: how long, for what is slow.
    """

    kind: Kind
    before: bool
    seconds: float


class FaultPlan:
    """The faults of a run.

    Each point is decided by its own random number, made of the seed, the service, the site and how often the service
    came there: the same seed gives the same faults whatever the order in which services come to their points.

    Args:
        seed: of the run.
        kinds: what may go wrong.
        rate: the share of points at which something does, 0 to 1.
        longest: seconds that something slow takes at most.
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
        """What goes wrong as `service` comes to `site` now; None where nothing does."""
        if not self.active:
            return None
        self._visits[service, site] += 1
        self.points[site] += 1
        fault = self.at(Point(service, site, self._visits[service, site]))
        if fault is not None:
            self.injected[site, fault.kind] += 1
        return fault

    def at(self, point: Point) -> Fault | None:
        """What this plan has in store for a point."""
        chance = random.Random(f"{self.seed}/{point.service}/{point.site}/{point.number}")  # noqa: S311  # to be repeated, not to be secret
        possible = [kind for kind in _AT[point.site] if kind in self.kinds]
        if not possible or chance.random() >= self.rate:
            return None
        [kind] = chance.choices(possible, [_WEIGHTS.get(each, 1.0) for each in possible])
        return Fault(kind, before=chance.random() < 0.5, seconds=chance.uniform(0.001, self.longest))  # noqa: PLR2004  # as often as not
