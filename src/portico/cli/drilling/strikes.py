"""What goes wrong on servers, and after which order: decided by the seed alone."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from portico.drill.faults.plan import Kind

DEFAULT_RATE: Final = 0.15
"""the share of orders after which something goes wrong: of strikes on whole processes there are few, and each is hard"""

_WEIGHTS: Mapping[Kind, float] = {"crash": 4, "drop": 2, "database": 1, "slow": 1}
_DONE: Mapping[Kind, str] = {
    "crash": "killed",
    "drop": "killed and started again",
    "database": "all connections cut",
    "slow": "stopped for a second",
}


@dataclass(frozen=True, slots=True)
class Strike:
    """Something that goes wrong once so many orders are placed.

    Args:
        after: how many.
        kind: what.
        target: the process or server that it happens to.
    """

    after: int
    kind: Kind
    target: str

    def __str__(self) -> str:
        return f"{self.target}: {_DONE[self.kind]}"


def possible(kinds: Collection[Kind]) -> tuple[Kind, ...]:
    """Those of `kinds` that can be done to servers."""
    return tuple(kind for kind in kinds if kind in _DONE)


def planned(seed: int, kinds: Collection[Kind], *, orders: int, rate: float, parts: Sequence[str]) -> list[Strike]:
    """The strikes of a drill, in order. Each is decided by a random number made of the seed and its place.

    Args:
        seed: of the drill.
        kinds: what may go wrong; what can't on servers is left out.
        orders: how many are placed.
        rate: the share of orders after which something goes wrong, 0 to 1.
        parts: the processes of the system.
    """
    targets: Mapping[Kind, Sequence[str]] = {
        "crash": parts,
        "slow": parts,
        "drop": ("PostgreSQL", "RabbitMQ", "Redis"),
        "database": ("PostgreSQL",),
    }
    able = possible(kinds)
    strikes = []
    for after in range(1, orders + 1):
        chance = random.Random(f"{seed}/after/{after}")  # noqa: S311  # to be repeated, not to be secret
        if able and chance.random() < rate:
            [kind] = chance.choices(able, [_WEIGHTS[each] for each in able])
            strikes.append(Strike(after, kind, chance.choice(targets[kind])))
    return strikes
