"""What those are told who ask something of a saga."""

from portico.kit.foundation.problems import Conflict, NotFound, Unavailable


class SagaNotFound(NotFound):
    code = "saga_not_found"
    detail = "There is no saga for {subject}."

    subject: str


class SagaEnded(Conflict):
    """Nothing is left to be done, or undone."""

    code = "saga_ended"
    detail = "The saga {saga_id} has ended already: {ended_as}."

    saga_id: str
    ended_as: str


class PastNoReturn(Conflict):
    """What can't be taken back has begun."""

    code = "past_the_point_of_no_return"
    detail = "The saga {saga_id} is at '{step}', from where it can only go forward."

    saga_id: str
    step: str


class SagaOfAnotherVersion(Unavailable):
    """While a new version is rolled out: the saga is at a step that this one does not have."""

    code = "saga_of_another_version"
    detail = (
        "What is being done for {subject} is at a step of another version of the service, which alone knows whether there "
        "is a way back from it. Come again in {retry_after:.0f} s."
    )

    subject: str


class StepUnderWay(Conflict):
    """An attempt is running right now, and nobody knows yet how it ends."""

    code = "step_under_way"
    detail = "The step '{step}' of the saga {saga_id} is under way. See how it ends, then ask again."

    saga_id: str
    step: str
