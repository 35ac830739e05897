"""How a step may end, and what its error says: that it had no effect, or that nobody knows."""

from dataclasses import dataclass
from typing import Literal, Self

import orjson

from portico.kit.calls.errors import CallFailed, Refused
from portico.kit.calls.problems import problem_of
from portico.kit.foundation.problems import Problem

_LONGEST = 500  # characters of a reason
_LATER = frozenset({408, 425, 429})  # try again; 409 with Retry-After too: the same key is still in flight
_IN_FLIGHT = 409


class StepPending(Exception):
    """Raised by a step that calls others: the outcome is still open. It is asked again, and that is no failure.

    Args:
        retry_after: seconds until then.
    """

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__(retry_after)
        self.retry_after = max(0.02, retry_after)


class AbortSaga(Exception):
    """Raised by a step: it had no effect and never will have; what was done before it is to be undone.

    Args:
        reason: a sentence for people, which holds no secret.
        code: a stable word for programs, such as `payment_declined`.
    """

    def __init__(self, reason: str, *, code: str = "given_up") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class StepTimedOut(Exception):
    """A local step did not end within its time. What a database says of its own time is something else."""


@dataclass(frozen=True, slots=True)
class UndoReason:
    """Why a saga is undone.

    Attributes:
        asked: Somebody asked for it; otherwise a step failed for good, or a deadline passed.
        reason: A sentence for people.
        code: A stable word for programs.
        step: The step that failed; None where it was asked for.
    """

    asked: bool
    reason: str
    code: str
    step: str | None = None

    def dumped(self) -> str:
        return orjson.dumps(self).decode()

    @classmethod
    def loaded(cls, text: str | None) -> Self | None:
        return None if text is None else cls(**orjson.loads(text))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        kind: `done`; `refused`: it had no effect; `failed`: nobody knows; `open`: not yet known. No attempt was made where
            it is `skipped`: by somebody; `cut`: it is to be undone; `late`: a deadline has passed.
        reason: What went wrong, for people.
        code: What went wrong, for programs.
        retry_after: Seconds until another attempt makes sense.
        effect: The step may have had its effect all the same: what it records was refused, or an earlier request of the
            same attempt may still arrive.
    """

    kind: Literal["done", "refused", "failed", "open", "skipped", "cut", "late"]
    reason: str = ""
    code: str = ""
    retry_after: float | None = None
    effect: bool = False


DONE = Outcome("done")
SKIPPED = Outcome("skipped")
CUT = Outcome("cut")


def outcome_of(error: Exception, *, effect: bool = False) -> Outcome:  # noqa: PLR0911  one for each kind of error
    """What an error that a step raised says of its outcome."""
    match error:
        case StepPending():
            return Outcome("open", retry_after=error.retry_after, effect=effect)
        case AbortSaga():
            return Outcome("refused", _cut(error.reason), error.code, effect=effect)
        case Problem():
            later = "retry-after" in error.headers
            return _answered(error.status, error.sentence(), error.code, effect=effect, later=later, retry_after=None)
        case Refused():
            detail = error.problem.get("detail")
            reason = detail if isinstance(detail, str) else str(error)
            code = error.code or f"answered_{error.status}"
            later = error.retry_after is not None
            return _answered(error.status, reason, code, effect=effect, later=later, retry_after=error.retry_after)
        case CallFailed():
            # What it says itself is for the log: it may tell of hosts and ports.
            return Outcome("failed", problem_of(error).sentence(), type(error).__name__, error.retry_after)
        case TimeoutError() | StepTimedOut():
            return Outcome("failed", "The step took longer than it may", "took_too_long")
        case _:
            # What it says is for the log: it may tell of SQL, of paths, of a customer.
            return Outcome("failed", f"Something went wrong here: {type(error).__name__}", type(error).__name__)


def _answered(status: int, reason: str, code: str, *, effect: bool, later: bool, retry_after: float | None) -> Outcome:
    definite = 400 <= status < 500 and status not in _LATER and not (status == _IN_FLIGHT and later)  # noqa: PLR2004  RFC 9110 section 15.5
    if definite:
        return Outcome("refused", _cut(reason), code, effect=effect)
    return Outcome("failed", _cut(reason), code, retry_after)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
