"""Where a saga goes from where it is, given how an attempt ended: pure, so that every story can be tried."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from portico.kit.foundation.backoff import Backoff
from portico.kit.sagas.definition import NoSuchStep, Saga
from portico.kit.sagas.outcomes import Outcome, UndoReason

Status = Literal["running", "undoing", "done", "undone"]
Late = Literal["saga", "step"]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a saga is.

    Attributes:
        status: Forward, backward, or at either end.
        step: The step that is tried or next; empty where only the end is left.
        done: The steps that are to be undone if it comes to that, oldest first.
        attempts: Of this step, how many were begun.
        failures: Of this step, in a row.
        doubt: Whether an attempt of this step may have had an effect that nobody saw.
        why: Why it is undone, or is to be as soon as the step is over.
        skip: Somebody did by hand what this step does, and it is to be passed over.
        wait: Seconds until the next attempt of the same step; None where it goes on at once.
    """

    status: Status
    step: str
    done: tuple[str, ...] = ()
    attempts: int = 0
    failures: int = 0
    doubt: bool = False
    why: UndoReason | None = None
    skip: bool = False
    wait: float | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in {"done", "undone"}

    @property
    def begun_before(self) -> bool:
        """Whether there was an attempt before the one that is under way."""
        return self.attempts > 1


def needs_undo_before_skip(saga: Saga[Any], at: Position) -> bool:
    """Whether a step that is passed over is undone first: what it began may take effect yet, beside what was done by hand."""
    if not (at.skip and at.begun_before and at.status == "running"):
        return False
    return saga.is_remote(at.step) and saga.step(at.step).undo is not None


def next_position(
    saga: Saga[Any], at: Position, outcome: Outcome, backoff: Backoff, late: Late | None = None
) -> Position:
    """The position after an attempt.

    Args:
        saga: the definition.
        at: the position in which the attempt was made.
        outcome: how it ended.
        backoff: how long to wait before another one.
        late: which deadline has passed.
    """
    if at.status == "undoing":
        return _back_again(saga, at, outcome, backoff)
    step = saga.step(at.step)
    remote = saga.is_remote(at.step)
    if outcome.kind in {"done", "skipped"}:
        return _forward(saga, at, late)
    if step.only_forward or (at.skip and late is None):  # a step that is passed over has not failed
        return _again(at, outcome, backoff, doubt=at.doubt or remote)
    if outcome.kind == "refused" and not at.skip:
        # An earlier attempt whose outcome nobody saw may still take effect, after this one was refused.
        return start_compensation(saga, at, _why(at, outcome), effect=outcome.effect or (remote and at.doubt))
    tired = outcome.kind == "failed" and (at.why is not None or at.failures >= step.retry)
    if late is not None or tired:
        why = _why(at, outcome) if late is None else at.why or deadline_passed(at, late)
        return start_compensation(saga, at, why, effect=remote)
    return _again(at, outcome, backoff, doubt=at.doubt or outcome.effect or (remote and outcome.kind == "failed"))


def start_compensation(saga: Saga[Any], at: Position, why: UndoReason, *, effect: bool) -> Position:
    """Back from here; `effect` where this step may have had one, so that it is undone as well."""
    done = (*at.done, at.step) if effect else at.done
    return _backward(saga, done, why)


def deadline_passed(at: Position, late: Late) -> UndoReason:
    """Why it is undone when a deadline has passed."""
    whose = "saga" if late == "saga" else f"step '{at.step}'"
    return UndoReason(False, f"The {whose} was not done by its deadline", f"{late}_deadline_passed", at.step)


def retry_finalizer(at: Position, backoff: Backoff) -> Position:
    """All is undone, and what was to be written at the end failed: only that is left to be tried again."""
    failures = 1 if at.step else at.failures + 1
    attempts = 1 if at.step else at.attempts
    wait = backoff.delay(failures)
    return Position("undoing", "", (), attempts=attempts, failures=failures, why=at.why, wait=wait)


def _forward(saga: Saga[Any], at: Position, late: Late | None) -> Position:
    step, following = saga.step(at.step), saga.after(at.step)
    done = (*at.done, at.step) if step.undo is not None and not at.skip else at.done
    why = at.why
    if why is None and late == "saga" and following is not None:
        why = deadline_passed(at, "saga")
    if why is not None and not step.only_forward:
        return _backward(saga, done, why)
    if following is None:
        return Position("done", "", done)
    return Position("running", following.name, done)


def _back_again(saga: Saga[Any], at: Position, outcome: Outcome, backoff: Backoff) -> Position:
    """After an attempt to undo: it is made until it succeeds."""
    why = at.why or UndoReason(False, "", "unknown")
    if outcome.kind in {"done", "skipped"}:
        return _backward(saga, at.done[:-1], why)
    return _again(at, outcome, backoff, doubt=False)


def _backward(saga: Saga[Any], done: tuple[str, ...], why: UndoReason) -> Position:
    while done and not _can_be_undone(saga, done[-1]):
        done = done[:-1]
    if done:
        return Position("undoing", done[-1], done, why=why)
    return Position("undone", "", (), why=why)


def _can_be_undone(saga: Saga[Any], name: str) -> bool:
    try:
        return saga.step(name).undo is not None
    except NoSuchStep:
        return True  # of another version: whoever runs that one undoes it


def _again(at: Position, outcome: Outcome, backoff: Backoff, *, doubt: bool) -> Position:
    if outcome.kind == "open":
        return replace(at, failures=0, doubt=doubt, wait=outcome.retry_after)
    failures = at.failures + 1
    return replace(at, failures=failures, doubt=doubt, wait=backoff.delay(failures, outcome.retry_after))


def _why(at: Position, outcome: Outcome) -> UndoReason:
    return at.why or UndoReason(False, outcome.reason, outcome.code, at.step)
