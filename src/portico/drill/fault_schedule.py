"""Faults of processes and servers, and the order after which each occurs: decided by the seed alone."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from portico.drill.faults.plan import Kind

DEFAULT_RATE: Final = 0.15
"""The default share of orders after which a fault occurs. It is high because there are few places for such faults."""
BATCH_FAULT_SHARE: Final = 0.2
"""The share of this rate at which faults occur inside batched calls and cohorts, for which there are many places."""

_WEIGHTS: Mapping[Kind, float] = {"crash": 4, "drop": 2, "database": 1, "slow": 1}
_DESCRIPTIONS: Mapping[Kind, str] = {
    "crash": "killed",
    "drop": "killed and restarted",
    "database": "all connections terminated",
    "slow": "paused for one second",
}


@dataclass(frozen=True, slots=True)
class ScheduledFault:
    """A fault that occurs when a number of orders have been placed.

    Args:
        after: the number of orders.
        kind: of the fault.
        target: the process or server that it affects.
    """

    after: int
    kind: Kind
    target: str

    def __str__(self) -> str:
        return f"{self.target}: {_DESCRIPTIONS[self.kind]}"


def feasible_kinds(kinds: Collection[Kind]) -> tuple[Kind, ...]:
    """Return those of `kinds` that can be caused on real servers."""
    return tuple(kind for kind in kinds if kind in _DESCRIPTIONS)


def schedule_faults(
    seed: int, kinds: Collection[Kind], *, orders: int, rate: float, parts: Sequence[str]
) -> list[ScheduledFault]:
    """Return the faults of a drill, in order. Each is drawn from the seed and its place, so a longer drill extends a shorter one.

    Args:
        seed: of the drill.
        kinds: of faults; those that are not feasible are left out.
        orders: the number of orders placed.
        rate: the share of orders after which a fault occurs, 0 to 1.
        parts: the processes of the system.
    """
    targets: Mapping[Kind, Sequence[str]] = {
        "crash": parts,
        "slow": parts,
        "drop": ("PostgreSQL", "RabbitMQ", "Redis"),
        "database": ("PostgreSQL",),
    }
    feasible = feasible_kinds(kinds)
    faults = []
    for after in range(1, orders + 1):
        chance = random.Random(f"{seed}/after/{after}")  # noqa: S311  # repeatable, not secret
        if feasible and chance.random() < rate:
            [kind] = chance.choices(feasible, [_WEIGHTS[each] for each in feasible])
            faults.append(ScheduledFault(after, kind, chance.choice(targets[kind])))
    return faults
