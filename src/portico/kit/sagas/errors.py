"""Errors of requests to a saga: start, undo, retry, skip."""

from portico.kit.foundation.problems import Conflict, NotFound, Unavailable


class SagaNotFound(NotFound):
    detail = "There is no saga for {subject}."

    subject: str


class SagaEnded(Conflict):
    """The saga has ended, so it has no step to retry, skip or undo."""

    detail = "The saga {saga_id} has already ended with status '{ended_as}'."

    saga_id: str
    ended_as: str


class PastNoReturn(Conflict):
    """The saga has passed its point of no return and cannot be undone."""

    code = "past_the_point_of_no_return"
    detail = "The saga {saga_id} is at step '{step}', past its point of no return. It cannot be undone."

    saga_id: str
    step: str


class SagaOfAnotherVersion(Unavailable):
    """The saga is at a step that this version of the service does not have. This can occur during a rollout."""

    detail = (
        "The saga for {subject} is at a step of another version of the service. Only that version knows whether it can be "
        "undone. Retry in {retry_after:.0f} seconds."
    )

    subject: str


class StepUnderWay(Conflict):
    """An attempt of the step is running, and its outcome is not known yet."""

    detail = "The step '{step}' of the saga {saga_id} is running. Wait for its outcome, then retry."

    saga_id: str
    step: str
