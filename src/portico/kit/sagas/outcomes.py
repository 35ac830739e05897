"""Outcomes of step attempts, and the mapping of errors: no effect (`refused`) or unknown effect (`failed`)."""

from dataclasses import dataclass
from typing import Literal, Self

import orjson

from portico.kit.calls.errors import CallFailed, Refused
from portico.kit.calls.problems import problem_of
from portico.kit.foundation.problems import Problem

MAX_REASON_LENGTH = 500  # characters
_RETRYABLE = frozenset({408, 425, 429})  # also 409 with Retry-After: a request with the same key is in flight
_CONFLICT = 409


class StepPending(Exception):
    """Raised by a remote step whose outcome is not known yet. The step is called again; this is not a failure.

    Args:
        retry_after: seconds until the next call; at most SAGA_RETRY_LIMIT.
    """

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__(retry_after)
        self.retry_after = max(0.02, retry_after)


class AbortSaga(Exception):
    """Raised by a step that had no effect and never will have one. The steps before it are undone.

    Args:
        reason: a sentence for people. It must not contain secrets.
        code: a stable word for programs, such as `payment_declined`.
    """

    def __init__(self, reason: str, *, code: str = "given_up") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class StepTimedOut(Exception):
    """A local step exceeded its time limit. A time-out reported by the database is a different error."""


@dataclass(frozen=True, slots=True)
class UndoReason:
    """Why a saga is undone.

    Attributes:
        requested: A user or service requested it. If false, a step failed permanently or a deadline was exceeded.
        reason: A sentence for people.
        code: A stable word for programs.
        step: The step that failed; None if the undo was requested.
    """

    requested: bool
    reason: str
    code: str
    step: str | None = None

    def to_json(self) -> str:
        """Return the reason as JSON, as it is stored in the saga's row."""
        return orjson.dumps(self).decode()

    @classmethod
    def from_json(cls, text: str | None) -> Self | None:
        """Return the reason that a row stores, if any."""
        return None if text is None else cls(**orjson.loads(text))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt of a step ended.

    Attributes:
        kind: After an attempt: `done`; `refused` (no effect); `failed` (unknown effect); `pending` (outcome not known
            yet). Without an attempt: `skipped` (by an operator); `aborted` (the saga must be undone);
            `deadline_exceeded`.
        reason: The error, for people.
        code: The error, for programs.
        retry_after: Seconds until another attempt makes sense.
        effect: Whether the step may have had an effect anyway: its `record` was refused, or an earlier request of the
            same attempt may still arrive.
    """

    kind: Literal["done", "refused", "failed", "pending", "skipped", "aborted", "deadline_exceeded"]
    reason: str = ""
    code: str = ""
    retry_after: float | None = None
    effect: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the saga continues with the next step."""
        return self.kind in {"done", "skipped"}


DONE = Outcome("done")
SKIPPED = Outcome("skipped")
ABORTED = Outcome("aborted")


def outcome_of(error: Exception, *, effect: bool = False) -> Outcome:  # noqa: PLR0911  one for each kind of error
    """Return the outcome for an error that a step raised.

    Args:
        error: what the step raised.
        effect: whether an earlier request of the same attempt may still have an effect.
    """
    match error:
        case StepPending():
            return Outcome("pending", retry_after=error.retry_after, effect=effect)
        case AbortSaga():
            return Outcome("refused", _truncate(error.reason), error.code, effect=effect)
        case Problem():
            retryable = "retry-after" in error.headers
            return _outcome_of_status(
                error.status, error.sentence(), error.code, effect=effect, retryable=retryable, retry_after=None
            )
        case Refused():
            detail = error.problem.get("detail")
            reason = detail if isinstance(detail, str) else str(error)
            code = error.code or f"answered_{error.status}"
            retryable = error.retry_after is not None
            return _outcome_of_status(
                error.status, reason, code, effect=effect, retryable=retryable, retry_after=error.retry_after
            )
        case CallFailed():
            # The error's own text is only logged, because it may contain hosts and ports.
            return Outcome("failed", problem_of(error).sentence(), type(error).__name__, error.retry_after)
        case TimeoutError() | StepTimedOut():
            return Outcome("failed", "The step exceeded its time limit", "took_too_long")
        case _:
            # The error's own text is only logged, because it may contain SQL, paths or customer data.
            return Outcome("failed", f"Unexpected error: {type(error).__name__}", type(error).__name__)


def _outcome_of_status(
    status: int, reason: str, code: str, *, effect: bool, retryable: bool, retry_after: float | None
) -> Outcome:
    in_flight = status == _CONFLICT and retryable
    definite = 400 <= status < 500 and status not in _RETRYABLE and not in_flight  # noqa: PLR2004  RFC 9110 section 15.5
    if definite:
        return Outcome("refused", _truncate(reason), code, effect=effect)
    return Outcome("failed", _truncate(reason), code, retry_after)


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_REASON_LENGTH else text[: MAX_REASON_LENGTH - 1] + "…"
