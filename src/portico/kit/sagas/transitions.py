"""Transitions of a saga: its next position, given the outcome of an attempt. Pure functions without I/O."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from portico.kit.foundation.backoff import Backoff
from portico.kit.sagas.definition import NoSuchStep, Saga
from portico.kit.sagas.outcomes import Outcome, UndoReason

Status = Literal["running", "undoing", "done", "undone"]
Deadline = Literal["saga", "step"]


@dataclass(frozen=True, slots=True)
class Position:
    """Position of a saga in its steps.

    Attributes:
        status: The direction, or how the saga ended.
        step: The current step; empty if only the finalizer is left.
        done: The steps that compensation has to undo, oldest first.
        attempts: Attempts of this step that were started.
        failures: Consecutive failures of this step.
        in_doubt: Whether an attempt of this step may have had an effect without a known outcome.
        undo_reason: Why the saga is undone, now or once the step has ended.
        skip: Whether an operator requested to skip this step.
        wait: Seconds until the next attempt of this step; None if the saga continues at once.
    """

    status: Status
    step: str
    done: tuple[str, ...] = ()
    attempts: int = 0
    failures: int = 0
    in_doubt: bool = False
    undo_reason: UndoReason | None = None
    skip: bool = False
    wait: float | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in {"done", "undone"}

    @property
    def was_attempted_before(self) -> bool:
        """Whether there was an attempt before the current one."""
        return self.attempts > 1


def needs_undo_before_skip(saga: Saga[Any], position: Position) -> bool:
    """Whether a skipped step must be undone first, because an earlier request may still take effect."""
    if not (position.skip and position.was_attempted_before and position.status == "running"):
        return False
    return saga.is_remote(position.step) and saga.step(position.step).undo is not None


def next_position(
    saga: Saga[Any],
    position: Position,
    outcome: Outcome,
    backoff: Backoff,
    exceeded: Deadline | None = None,
) -> Position:
    """Return the position after an attempt.

    Args:
        saga: the definition.
        position: the position in which the attempt was made.
        outcome: how the attempt ended.
        backoff: the delays between attempts.
        exceeded: which deadline is exceeded, if any.
    """
    if position.status == "undoing":
        return _after_undo(saga, position, outcome, backoff)
    step = saga.step(position.step)
    remote = saga.is_remote(position.step)
    if outcome.is_success:
        return _forward(saga, position, exceeded)
    if step.only_forward or (position.skip and exceeded is None):  # a skipped step cannot fail; only its undo can
        return _retry(position, outcome, backoff, in_doubt=position.in_doubt or remote)
    if outcome.kind == "refused" and not position.skip:
        # An earlier attempt with an unknown outcome may still take effect after this one was refused.
        effect = outcome.effect or (remote and position.in_doubt)
        return start_compensation(saga, position, _undo_reason(position, outcome), effect=effect)
    exhausted = outcome.kind == "failed" and (position.undo_reason is not None or position.failures >= step.retry)
    if exceeded is not None or exhausted:
        failed = _undo_reason(position, outcome)
        late = position.undo_reason or (exceeded and deadline_exceeded(position, exceeded))
        return start_compensation(saga, position, late or failed, effect=remote)
    in_doubt = position.in_doubt or outcome.effect or (remote and outcome.kind == "failed")
    return _retry(position, outcome, backoff, in_doubt=in_doubt)


def start_compensation(saga: Saga[Any], position: Position, undo_reason: UndoReason, *, effect: bool) -> Position:
    """Return the first position of the compensation.

    Args:
        saga: the definition.
        position: the current position.
        undo_reason: why the saga is undone.
        effect: whether the current step may have had an effect, so that it is undone as well.
    """
    done = (*position.done, position.step) if effect else position.done
    return _backward(saga, done, undo_reason)


def deadline_exceeded(position: Position, exceeded: Deadline) -> UndoReason:
    """Return the reason for an undo after an exceeded deadline."""
    whose = "saga" if exceeded == "saga" else f"step '{position.step}'"
    return UndoReason(False, f"The {whose} exceeded its deadline", f"{exceeded}_deadline_passed", position.step)


def retry_finalizer(position: Position, backoff: Backoff) -> Position:
    """Return the position in which all steps are undone and the failed finalizer waits for its next attempt."""
    failures = 1 if position.step else position.failures + 1
    attempts = 1 if position.step else position.attempts
    wait = backoff.delay(failures)
    return Position(
        "undoing", "", (), attempts=attempts, failures=failures, undo_reason=position.undo_reason, wait=wait
    )


def _forward(saga: Saga[Any], position: Position, exceeded: Deadline | None) -> Position:
    step, following = saga.step(position.step), saga.after(position.step)
    done = (*position.done, position.step) if step.undo is not None and not position.skip else position.done
    undo_reason = position.undo_reason
    if undo_reason is None and exceeded == "saga" and following is not None:
        undo_reason = deadline_exceeded(position, "saga")
    if undo_reason is not None and not step.only_forward:
        return _backward(saga, done, undo_reason)
    if following is None:
        return Position("done", "", done)
    return Position("running", following.name, done)


def _after_undo(saga: Saga[Any], position: Position, outcome: Outcome, backoff: Backoff) -> Position:
    """Return the position after an attempt to undo, which is retried until it succeeds."""
    undo_reason = position.undo_reason or UndoReason(False, "", "unknown")
    if outcome.is_success:
        return _backward(saga, position.done[:-1], undo_reason)
    return _retry(position, outcome, backoff, in_doubt=False)


def _backward(saga: Saga[Any], done: tuple[str, ...], undo_reason: UndoReason) -> Position:
    while done and not _has_undo(saga, done[-1]):
        done = done[:-1]
    if done:
        return Position("undoing", done[-1], done, undo_reason=undo_reason)
    return Position("undone", "", (), undo_reason=undo_reason)


def _has_undo(saga: Saga[Any], name: str) -> bool:
    try:
        return saga.step(name).undo is not None
    except NoSuchStep:
        return True  # a step of another version: a process of that version undoes it


def _retry(position: Position, outcome: Outcome, backoff: Backoff, *, in_doubt: bool) -> Position:
    if outcome.kind == "pending":
        wait = min(outcome.retry_after or 0.0, backoff.limit)
        return replace(position, failures=0, in_doubt=in_doubt, wait=wait)
    failures = position.failures + 1
    wait = backoff.delay(failures, outcome.retry_after)
    return replace(position, failures=failures, in_doubt=in_doubt, wait=wait)


def _undo_reason(position: Position, outcome: Outcome) -> UndoReason:
    return position.undo_reason or UndoReason(False, outcome.reason, outcome.code, position.step)
