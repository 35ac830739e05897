"""What a saga is: steps by name, how each is undone, and where there is no way back."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import insert

from portico.kit.calls.client import Calls
from portico.kit.data.kit_tables import sagas
from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.stored_names import checked_name
from portico.kit.sagas.control import BELL, Asked, ask_to_undo
from portico.kit.sagas.errors import SagaOfAnotherVersion
from portico.kit.sagas.outcomes import UndoReason
from portico.kit.sagas.signatures import check_local, kind_of
from portico.kit.sagas.state import SagaId, SagaState
from portico.kit.telemetry.context import request_context
from portico.kit.telemetry.trace_context import TraceContext

S = TypeVar("S", bound=SagaState)

FOREVER: Final = sys.maxsize
"""As `retry` of a step: retry until it succeeds. The first such step is the saga's point of no return."""

_MAX_NAMES_LENGTH = 1000  # characters of all step names of a saga: its row lists the steps that are done


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


_A_DAY = hours(24)
_START = Statement(insert(sagas))

Act = Callable[[S, UnitOfWork], Awaitable[S | None]] | Callable[[S, Calls], Awaitable[S | None]]
Record = Callable[[S, UnitOfWork], Awaitable[None]]
WhenUndone = Record[S] | Callable[[S, UnitOfWork, UndoReason], Awaitable[None]]


class NoSuchStep(LookupError):
    """The row of a saga names a step that this version of the code does not have."""


@dataclass(frozen=True, eq=False)
class Step(Generic[S]):
    """One step: `Step("charge-deposit", charge_deposit, record=mark_paid, undo=refund_deposit, within=seconds(30))`.

    Its functions take the saga's state, then either a UnitOfWork (local: one commit with the saga's progress) or Calls
    (remote: each POST carries a key of saga, step and direction, so that asking twice has one effect). They answer with
    the new state, or with nothing. A remote `undo` must take back what `do` did by its key, whether it did it or not,
    and for good: a late `do` must not come after it.

    Args:
        name: a stable name in kebab-case. It is stored, and appears in idempotency keys and the timeline.
        do: the step itself.
        record: what the service's own rows say once a remote step is done, by itself or by hand; in one commit with the
            progress. Done by hand, the state is still the one that the step was given.
        undo: takes back what `do` did. A step without is passed over.
        within: how long one attempt may take.
        retry: how many times a failed attempt (unknown outcome) is repeated before compensation starts. FOREVER: until
            it succeeds.
        deadline: how long all attempts may take together, from the first one on.
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
        """Whether there is no way back from here."""
        return self.retry == FOREVER


class Saga(Generic[S]):
    """A long transaction, read as a list of steps: `lend_book = Saga("lend-book", Lending, Step("reserve-copy", …), Step(…))`.

    Args:
        name: a stable name in kebab-case. It is stored in the saga's row.
        state: the type of its state.
        steps: in order. From the first with `retry=FOREVER` on all have it, and none is undone.
        deadline: the time from the start until the point of no return; what is not there by then is undone.
        when_done: what the service's own rows say at the end; in one commit with it.
        when_undone: likewise where all was undone; takes an `UndoReason` too, where it wants to know why.

    Raises:
        TypeError: a function does not take what it must, see `Step`.
        ValueError: the steps do not make a saga, or a name is not kebab-case.
    """

    def __init__(
        self,
        name: str,
        state: type[S],
        *steps: Step[S],
        deadline: timedelta = _A_DAY,
        when_done: Record[S] | None = None,
        when_undone: WhenUndone[S] | None = None,
    ) -> None:
        self.name = checked_name(name)
        self.state = state
        self.steps = steps
        self.deadline = deadline
        self.when_done = when_done
        self.when_undone = when_undone
        self._places = {step.name: place for place, step in enumerate(steps)}
        self._check_steps()
        self._kinds = {step.name: self._checked(step) for step in steps}
        if when_done is not None:
            check_local(when_done, state)
        self._undone_takes = 0 if when_undone is None else check_local(when_undone, state, UndoReason)

    def _check_steps(self) -> None:
        if not self.steps or len(self._places) < len(self.steps):
            raise ValueError(f"Saga '{self.name}' needs at least one step, and each step needs a different name.")
        if len(",".join(map(checked_name, self._places))) > _MAX_NAMES_LENGTH:
            raise ValueError(
                f"The step names of saga '{self.name}' have more than {_MAX_NAMES_LENGTH} characters together."
            )
        ahead = [step.only_forward for step in self.steps]
        if ahead != sorted(ahead):
            raise ValueError(f"saga {self.name!r}: after a step that is retried for ever no other may fail")
        for step in self.steps:
            if step.only_forward and (step.undo or step.deadline):
                raise ValueError(f"step {step.name!r} is retried for ever: it has neither an undo nor a deadline")
            if step.within <= timedelta(0) or step.retry < 0:
                raise ValueError(f"step {step.name!r} needs time for an attempt, and no negative number of retries")

    def _checked(self, step: Step[S]) -> dict[str, str]:
        kinds: dict[str, str] = {"do": kind_of(step.do, self.state)}
        if step.undo is not None:
            kinds["undo"] = kind_of(step.undo, self.state)
        if step.record is not None:
            check_local(step.record, self.state)
            if kinds["do"] == "local":
                raise TypeError(f"step {step.name!r} is local: what it would record it does itself, in the same commit")
        return kinds

    def step(self, name: str) -> Step[S]:
        """The step of this name. Raises NoSuchStep."""
        place = self._places.get(name)
        if place is None:
            raise NoSuchStep(f"saga {self.name!r} has no step {name!r} in this version")
        return self.steps[place]

    def after(self, name: str) -> Step[S] | None:
        """The step that follows; None after the last. Raises NoSuchStep."""
        place = self._places[self.step(name).name] + 1
        return self.steps[place] if place < len(self.steps) else None

    def is_remote(self, name: str, action: str = "do") -> bool:
        """Whether a step's `do` or `undo` calls other services. Raises NoSuchStep."""
        return self._kinds[self.step(name).name].get(action) == "remote"

    async def end(self, state: S, work: UnitOfWork, why: UndoReason | None) -> None:
        """Do what is to be done at the saga's end: `when_undone` where there is a reason why, else `when_done`."""
        if why is None:
            if self.when_done is not None:
                await self.when_done(state, work)
        elif self.when_undone is not None:
            given: tuple[Any, ...] = (state, work, why)
            await self.when_undone(*given[: self._undone_takes])

    async def start(self, work: UnitOfWork, state: S, *, subject: str) -> SagaId:
        """Start one in the transaction of what it serves; it runs once that is committed.

        Args:
            work: the transaction.
            state: what the steps begin with.
            subject: the identifier of what it serves, by which it is found: 64 characters at most.
        """
        saga_id, context = SagaId.new(), request_context.get()
        await work.write(
            _START,
            {
                "saga_id": saga_id,
                "name": self.name,
                "subject": subject,
                "state": state.dumped(),
                "status": "running",
                "step": self.steps[0].name,
                "done": "",
                "attempts": 0,
                "failures": 0,
                "doubt": False,
                "skip": False,
                "fence": 0,
                "due_at": work.now,
                "deadline_at": work.now + self.deadline,
                "started_at": work.now,
                "trace": str((None if context is None else context.trace) or TraceContext.new()),
                "request_id": None if context is None else context.request_id,
            },
        )
        work.after_commit(partial(work.database.ring, BELL))
        return saga_id

    async def ask_to_undo(self, work: UnitOfWork, subject: str, *, reason: str, code: str = "cancelled") -> Asked:
        """Have the newest saga for `subject` undone, in the transaction of what asks for it.

        A step that is under way ends first, so that its outcome is known; then all is undone in reverse.

        Args:
            work: the transaction.
            subject: as it was started with.
            reason: a sentence for people; `when_undone` is given it.
            code: a word for programs; likewise.

        Raises:
            SagaNotFound: there is none.
            SagaEnded: it is done or undone already.
            PastNoReturn: it can only go forward.
            SagaOfAnotherVersion: it is at a step that this version does not have.
        """
        try:
            return await ask_to_undo(self, work, subject, reason=reason, code=code)
        except NoSuchStep as error:
            raise SagaOfAnotherVersion(subject=subject) from error
