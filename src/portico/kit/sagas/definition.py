"""Definition of a saga: its steps, how each is undone, and its point of no return. `control` starts sagas."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from portico.kit.calls.client import Calls
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.stored_names import checked_name
from portico.kit.sagas.outcomes import UndoReason
from portico.kit.sagas.signatures import check_local, kind_of
from portico.kit.sagas.state import SagaState

S = TypeVar("S", bound=SagaState)

FOREVER: Final = sys.maxsize
"""Value for `retry` of a step: retry until it succeeds. The first such step is the saga's point of no return."""

_MAX_NAMES_LENGTH = 1000  # characters of all step names of a saga, because its row lists completed steps


def seconds(number: float) -> timedelta:
    """Return a duration of this many seconds."""
    return timedelta(seconds=number)


def minutes(number: float) -> timedelta:
    """Return a duration of this many minutes."""
    return timedelta(minutes=number)


def hours(number: float) -> timedelta:
    """Return a duration of this many hours."""
    return timedelta(hours=number)


_ONE_DAY = hours(24)

Act = Callable[[S, UnitOfWork], Awaitable[S | None]] | Callable[[S, Calls], Awaitable[S | None]]
Record = Callable[[S, UnitOfWork], Awaitable[None]]
WhenUndone = Record[S] | Callable[[S, UnitOfWork, UndoReason], Awaitable[None]]


class NoSuchStep(LookupError):
    """A saga's row names a step that this version of the code does not have."""


@dataclass(frozen=True, eq=False)
class Step(Generic[S]):
    """One step: `Step("charge-deposit", charge_deposit, record=mark_paid, undo=refund_deposit, within=seconds(30))`.

    Its functions take the saga's state, then either a UnitOfWork (local: one commit with the saga's progress) or Calls
    (remote: each POST has an idempotency key made of saga, step and direction). They return the new state, or None. A
    remote `undo` must reverse `do` by its key, whether or not `do` had an effect. It must be permanent: a `do` that
    arrives later must have no effect.

    Args:
        name: a stable name in kebab-case. It is stored, and appears in idempotency keys and the timeline.
        do: the step itself.
        record: writes the result of a remote step to the service's own rows, in one commit with the progress. It also
            runs when an operator skips the step, with the state from before the step.
        undo: reverses `do`. Compensation ignores a step without it.
        within: time limit of one attempt.
        retry: maximum number of retries after a failed attempt (unknown outcome) before compensation starts; FOREVER
            retries until the step succeeds.
        deadline: time limit of all attempts together, counted from the first one.
    """

    name: str
    do: Act[S]
    record: Record[S] | None = field(default=None, kw_only=True)
    undo: Act[S] | None = field(default=None, kw_only=True)
    within: timedelta = field(default=seconds(10), kw_only=True)
    retry: int = field(default=5, kw_only=True)
    deadline: timedelta | None = field(default=None, kw_only=True)

    @property
    def only_forward(self) -> bool:
        """Whether the step is past the point of no return."""
        return self.retry == FOREVER


class Saga(Generic[S]):
    """A long transaction as a list of steps: `lend_book = Saga("lend-book", Lending, Step("reserve-copy", …), …)`.

    Args:
        name: a stable name in kebab-case. It is stored in the saga's row.
        state: the type of its state.
        steps: the steps in order. All steps after the first one with `retry=FOREVER` have it too, and none of them is
            undone.
        deadline: time from the start until the point of no return. A saga that exceeds it is undone.
        when_done: writes the success to the service's own rows, in one commit with the end of the saga.
        when_undone: writes the failure after compensation, in the same way; it may also take an `UndoReason`.

    Raises:
        TypeError: a function does not have the signature that `Step` describes.
        ValueError: the steps cannot form a saga, or a name is not kebab-case.
    """

    def __init__(
        self,
        name: str,
        state: type[S],
        *steps: Step[S],
        deadline: timedelta = _ONE_DAY,
        when_done: Record[S] | None = None,
        when_undone: WhenUndone[S] | None = None,
    ) -> None:
        self.name = checked_name(name)
        self.state = state
        self.steps = steps
        self.deadline = deadline
        self.when_done = when_done
        self.when_undone = when_undone
        self._indexes = {step.name: index for index, step in enumerate(steps)}
        self._check_steps()
        self._kinds = {step.name: self._check_signatures(step) for step in steps}
        if when_done is not None:
            check_local(when_done, state)
        self._when_undone_arguments = 0 if when_undone is None else check_local(when_undone, state, UndoReason)

    def _check_steps(self) -> None:
        if not self.steps or len(self._indexes) < len(self.steps):
            raise ValueError(f"Saga '{self.name}' needs at least one step, and each step needs a different name.")
        if len(",".join(map(checked_name, self._indexes))) > _MAX_NAMES_LENGTH:
            raise ValueError(
                f"The step names of saga '{self.name}' have more than {_MAX_NAMES_LENGTH} characters together."
            )
        forward = [step.only_forward for step in self.steps]
        if forward != sorted(forward):
            raise ValueError(
                f"Saga '{self.name}' has a step that can fail after one with retry=FOREVER. Give it retry=FOREVER too."
            )
        for step in self.steps:
            if step.only_forward and (step.undo or step.deadline):
                raise ValueError(f"Step '{step.name}' has retry=FOREVER. It cannot have an undo or a deadline.")
            if step.within <= timedelta(0) or step.retry < 0:
                raise ValueError(f"Step '{step.name}' needs a positive `within` and a `retry` of 0 or more.")

    def _check_signatures(self, step: Step[S]) -> dict[str, str]:
        kinds: dict[str, str] = {"do": kind_of(step.do, self.state)}
        if step.undo is not None:
            kinds["undo"] = kind_of(step.undo, self.state)
        if step.record is not None:
            check_local(step.record, self.state)
            if kinds["do"] == "local":
                raise TypeError(
                    f"Step '{step.name}' is local and needs no `record`: write it in the step, in the same commit."
                )
        return kinds

    def step(self, name: str) -> Step[S]:
        """Return the step of this name. Raises NoSuchStep."""
        index = self._indexes.get(name)
        if index is None:
            raise NoSuchStep(f"Saga '{self.name}' has no step '{name}' in this version.")
        return self.steps[index]

    def after(self, name: str) -> Step[S] | None:
        """Return the step that follows; None after the last. Raises NoSuchStep."""
        index = self._indexes[self.step(name).name] + 1
        return self.steps[index] if index < len(self.steps) else None

    def is_remote(self, name: str, action: str = "do") -> bool:
        """Whether a step's `do` or `undo` calls other services. Raises NoSuchStep."""
        return self._kinds[self.step(name).name].get(action) == "remote"

    async def finalize(self, state: S, work: UnitOfWork, undo_reason: UndoReason | None) -> None:
        """Run the saga's finalizer: `when_undone` if there is an `undo_reason`, else `when_done`."""
        if undo_reason is None:
            if self.when_done is not None:
                await self.when_done(state, work)
        elif self.when_undone is not None:
            arguments: tuple[Any, ...] = (state, work, undo_reason)
            await self.when_undone(*arguments[: self._when_undone_arguments])
