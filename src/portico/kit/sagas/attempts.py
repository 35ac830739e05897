"""An attempt of a saga's step, between its end and its commit."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from portico.kit.sagas.leases import ClaimedSaga
from portico.kit.sagas.outcomes import ABORTED, Outcome, UndoReason, outcome_of
from portico.kit.sagas.state import SagaState

Act = Callable[..., Awaitable[Any]]


class FinalizerFailed(Exception):
    """All steps are undone, but the finalizer `when_undone` failed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a step, with its outcome as far as it is known before the commit.

    Attributes:
        claimed: The saga.
        outcome: The outcome of the attempt.
        state: The saga's state after it.
        started_at: When it started.
        local_act: The local function that the commit has to run; None if nothing is left to run.
        finalize: Whether the commit runs the saga's finalizer if the saga ends with this attempt.
    """

    claimed: ClaimedSaga
    outcome: Outcome
    state: SagaState
    started_at: datetime
    local_act: Act | None = None
    finalize: bool = True

    @property
    def kind(self) -> tuple[object, ...]:
        """Key that is the same for all attempts of a cohort."""
        position = self.claimed.position
        return self.claimed.saga.name, position.step, self.claimed.action, self.outcome.kind, self.finalize

    def with_undo_reason(self, undo_reason: UndoReason) -> "Attempt":
        """Return the attempt after a concurrent undo request. A local function that has not run is dropped."""
        claimed = replace(self.claimed, position=replace(self.claimed.position, undo_reason=undo_reason))
        return replace(
            self, claimed=claimed, local_act=None, outcome=self.outcome if self.local_act is None else ABORTED
        )

    def with_failed_commit(self, error: Exception) -> "Attempt":
        """Return the attempt after its commit failed. A remote step had its effect; a local step had none."""
        saga, position = self.claimed.saga, self.claimed.position
        effect = bool(position.step) and saga.is_remote(position.step)
        return replace(self, outcome=outcome_of(error, effect=effect), state=self.claimed.state, local_act=None)
