"""Which fault occurs where. The seed alone decides, so that the same seed gives the same faults."""

import random
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["crash", "drop", "duplicate", "reorder", "timeout", "slow", "database"]
Site = Literal["commit", "cohort", "publish", "delivery", "call", "batch", "item"]

ALL_FAULTS: tuple[Kind, ...] = get_args(Kind)
ALL_SITES: tuple[Site, ...] = get_args(Site)
BATCH_SITES: tuple[Site, ...] = ("cohort", "batch", "item")
"""The places inside batched calls and cohorts of sagas."""

_CRASH = 0.15  # crashes are rarer, because they abort all work in flight
_AT: Mapping[Site, Mapping[Kind, float]] = {
    "commit": {"crash": _CRASH, "database": 1, "slow": 1},
    "cohort": {"crash": 1, "slow": 1},
    "publish": {"crash": _CRASH, "drop": 1, "duplicate": 1, "reorder": 1, "slow": 1},
    "delivery": {"crash": _CRASH, "drop": 1, "duplicate": 1, "slow": 1},
    "call": {"crash": _CRASH, "drop": 1, "duplicate": 1, "timeout": 1, "slow": 1},
    "batch": {"crash": _CRASH, "drop": 1, "duplicate": 1, "timeout": 1, "slow": 1},
    "item": {"drop": 1, "duplicate": 1, "timeout": 1},
}
"""The possible faults at each kind of place, and their weights.

A cohort is the commit of several sagas, after the calls of their step. A batch is a request that contains several calls, and
an item is one of these.
"""


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
        max_delay: maximum delay of a slow operation, in seconds.
        sites: the places at which faults occur.
    """

    def __init__(
        self,
        seed: int,
        kinds: Collection[Kind] = ALL_FAULTS,
        *,
        rate: float = 0.05,
        max_delay: float = 0.05,
        sites: Collection[Site] = ALL_SITES,
    ) -> None:
        self.seed = seed
        self.kinds = tuple(kinds)
        self.sites = frozenset(sites)
        self.rate = rate
        self.max_delay = max_delay
        self.active = True
        self.injected: Counter[tuple[Site, Kind]] = Counter()
        self.points: Counter[Site] = Counter()
        self._visits: Counter[tuple[str, Site]] = Counter()

    def next(self, service: str, site: Site) -> Fault | None:
        """Return the fault as `service` reaches `site`, or None."""
        if not self.active or site not in self.sites:
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
        weights = _AT[point.site]
        possible = [kind for kind in weights if kind in self.kinds]
        if not possible or chance.random() >= self.rate:
            return None
        [kind] = chance.choices(possible, [weights[each] for each in possible])
        return Fault(kind, before=chance.random() < 0.5, seconds=chance.uniform(0.001, self.max_delay))  # noqa: PLR2004  # in half of the cases
